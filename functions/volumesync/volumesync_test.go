package volumesync

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

type held struct{}

func (held) Check(context.Context) error { return nil }

// handler is the step over a cluster that holds these objects and in which nothing else happens.
func handler(t *testing.T, objects ...runtime.Object) (*Handler, *fake.FakeDynamicClient) {
	t.Helper()
	dyn := fake.NewSimpleDynamicClientWithCustomListKinds(scheme.Scheme, map[schema.GroupVersionResource]string{}, objects...)
	p := &plan.Plan{Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	p.Spec.Tiers.VolumeAttachmentSync.Budget = plan.Duration(time.Minute)
	p.Spec.Tiers.FailedSchedulingPersistence = plan.Duration(time.Minute)
	return &Handler{Env: &step.Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { return p, nil },
		Connect:  func(context.Context, *plan.Plan) (*cluster.Client, error) { return &cluster.Client{Dynamic: dyn}, nil },
		Journals: &journal.Files{Dir: t.TempDir()},
		Guard:    func(*cluster.Client, *plan.Plan, string) change.Guard { return held{} },
		Now:      func() time.Time { return now },
	}}, dyn
}

// shop is a workload of one pod in a namespace; change may break it.
func shop(namespace string, change func(*appsv1.StatefulSet, *corev1.Pod, *corev1.PersistentVolumeClaim, *storagev1.VolumeAttachment)) []runtime.Object {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pg"}, Spec: appsv1.StatefulSetSpec{Replicas: ptr(int32(1)),
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}}}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pg-0"}, Spec: corev1.PodSpec{NodeName: "a", Volumes: []corev1.Volume{{Name: "data",
		VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-pg-0"}}}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "data-pg-0"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v"},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	a := ptr(attachment("va", "v", "a"))
	a.Status.Attached = true
	if change != nil {
		change(s, p, c, a)
	}
	objects := []runtime.Object{
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: namespace, Name: "data-pg-0"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver}}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}},
		&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}}, a,
	}
	if s.Name != "" {
		objects = append(objects, s)
	}
	if c.Name != "" {
		objects = append(objects, c)
	}
	if p.Name != "" {
		objects = append(objects, p)
	}
	return objects
}

type parts = func(*appsv1.StatefulSet, *corev1.Pod, *corev1.PersistentVolumeClaim, *storagev1.VolumeAttachment)

func TestStartRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		parts parts
		code  fault.Code
		says  string
	}{
		{"no StatefulSet", func(s *appsv1.StatefulSet, _ *corev1.Pod, _ *corev1.PersistentVolumeClaim, _ *storagev1.VolumeAttachment) {
			s.Name = ""
		}, fault.ObjectsMissing, "StatefulSet shop/pg"},
		{"a claim is gone and its volume is left", func(_ *appsv1.StatefulSet, _ *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *storagev1.VolumeAttachment) {
			c.Name = ""
		}, fault.ObjectsMissing, "data-pg-0"},
		{"a claim is lost", func(_ *appsv1.StatefulSet, _ *corev1.Pod, c *corev1.PersistentVolumeClaim, _ *storagev1.VolumeAttachment) {
			c.Status.Phase = corev1.ClaimLost
		}, fault.ObjectsMissing, "Lost"},
		{"scaled to zero", func(s *appsv1.StatefulSet, _ *corev1.Pod, _ *corev1.PersistentVolumeClaim, _ *storagev1.VolumeAttachment) {
			s.Spec.Replicas = ptr(int32(0))
		}, fault.NotQualified, "scaled to zero"},
		{"no node will ever take the pod", func(_ *appsv1.StatefulSet, p *corev1.Pod, _ *corev1.PersistentVolumeClaim, _ *storagev1.VolumeAttachment) {
			p.Spec.NodeName = ""
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
				Message: "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}
		}, fault.SchedulingImpossible, "pg-0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, dyn := handler(t, shop("shop", tc.parts)...)
			_, err := h.Handle(t.Context(), "start", "VolumeAttachmentSync", run.Run{ID: "r", Mode: run.Recover})
			var f *fault.Fault
			if !errors.As(err, &f) || f.Code != tc.code || !strings.Contains(f.Error(), tc.says) {
				t.Errorf("%v, expected %s with %q", err, tc.code, tc.says)
			}
			untouched(t, dyn)
		})
	}
}

// untouched fails when the cluster was changed.
func untouched(t *testing.T, dyn *fake.FakeDynamicClient) {
	t.Helper()
	for _, a := range dyn.Actions() {
		if v := a.GetVerb(); v != "get" && v != "list" && v != "watch" {
			t.Errorf("%s %s was sent, expected no change", v, a.GetResource().Resource)
		}
	}
}

// TestDrillLeavesClusterScoped: what is stuck outside the drill's namespace is found and left, which is no defect of the run.
func TestDrillLeavesClusterScoped(t *testing.T) {
	h, dyn := handler(t, shop(step.DrillNamespace("r"), func(_ *appsv1.StatefulSet, _ *corev1.Pod, _ *corev1.PersistentVolumeClaim, a *storagev1.VolumeAttachment) {
		a.Status = storagev1.VolumeAttachmentStatus{AttachError: &storagev1.VolumeError{Message: "stuck"}}
	})...)
	sec, err := h.Handle(t.Context(), "start", "VolumeAttachmentSync", run.Run{ID: "r", Mode: run.Drill})
	if err != nil || len(sec.Done) != 0 || len(sec.Found) != 2 || !strings.HasPrefix(sec.Found[1], "left in a drill") {
		t.Errorf("%+v %v, expected one finding and that it was left", sec, err)
	}
	untouched(t, dyn)
}

func TestAwait(t *testing.T) {
	notReady := func(_ *appsv1.StatefulSet, p *corev1.Pod, _ *corev1.PersistentVolumeClaim, _ *storagev1.VolumeAttachment) {
		p.Status.Conditions[0].Status = corev1.ConditionFalse
	}
	for _, tc := range []struct {
		name    string
		parts   parts
		section *run.Tier
		left    time.Duration
		phase   run.Phase
		reason  string
	}{
		{"all ready", nil, &run.Tier{}, time.Minute, run.Succeeded, ""},
		{"ready, and the volume is not attached", func(_ *appsv1.StatefulSet, _ *corev1.Pod, _ *corev1.PersistentVolumeClaim, a *storagev1.VolumeAttachment) {
			a.Status.Attached = false
		},
			&run.Tier{}, time.Millisecond, run.Running, ""},
		{"the budget is over", notReady, &run.Tier{}, 0, run.Failed, "BudgetExceeded"},
		{"the slice is over", notReady, &run.Tier{}, time.Millisecond, run.Running, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, _ := handler(t, shop("shop", tc.parts)...)
			deadline := now.Add(tc.left)
			tc.section.Deadline, tc.section.Rounds = &deadline, 2
			sec, err := h.Handle(t.Context(), "await", "AwaitVolumeAttachmentSync", run.Run{ID: "r", Mode: run.Recover, VolumeSync: tc.section})
			if err != nil || sec.Phase != tc.phase || sec.Reason != tc.reason || sec.Rounds != 3 {
				t.Errorf("%+v %v, expected %s %q in round 3", sec, err, tc.phase, tc.reason)
			}
		})
	}
}

func TestAwaitWithoutStart(t *testing.T) {
	h, _ := handler(t)
	for _, op := range []string{"await", "other"} {
		_, err := h.Handle(t.Context(), op, "x", run.Run{ID: "r", Mode: run.Recover})
		if f := fault.From(err); f == nil || f.Code != fault.Internal {
			t.Errorf("%s: %v, expected Internal", op, err)
		}
	}
}
