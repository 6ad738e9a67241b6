package volume

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var start = time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func statefulSet(replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "pg", Namespace: "shop"}, Spec: appsv1.StatefulSetSpec{Replicas: &replicas,
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}}}
}

func claim(name string, phase corev1.PersistentVolumeClaimPhase, class *string, volume string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name)},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: class, VolumeName: volume}, Status: corev1.PersistentVolumeClaimStatus{Phase: phase}}
}

func volume(name, claim string) corev1.PersistentVolume {
	return corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: claim, UID: types.UID("uid-" + claim)},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "csi.example.com"}}}}
}

func attachment(name, volume, node string, attached bool) storagev1.VolumeAttachment {
	return storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec:   storagev1.VolumeAttachmentSpec{NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}},
		Status: storagev1.VolumeAttachmentStatus{Attached: attached}}
}

func readyNode(name string, ready corev1.ConditionStatus, taints ...string) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
	for _, k := range taints {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: k, Effect: corev1.TaintEffectNoExecute})
	}
	return n
}

func pod(name, node, claim string, ready bool) corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{{
		Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}}}
}

func TestClaimNames(t *testing.T) {
	started := statefulSet(2)
	started.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 3}
	direct := statefulSet(1)
	direct.Spec.Template.Spec.Volumes = pod("x", "", "shared", false).Spec.Volumes
	for _, tc := range []struct {
		name string
		set  *appsv1.StatefulSet
		want []string
	}{
		{"none", nil, nil},
		{"two", statefulSet(2), []string{"data-pg-0", "data-pg-1"}},
		{"other first ordinal", started, []string{"data-pg-3", "data-pg-4"}},
		{"a claim that pods name", direct, []string{"data-pg-0", "shared"}},
		{"scaled to zero", statefulSet(0), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ClaimNames(tc.set); !cmp.Equal(got, tc.want) {
				t.Error(cmp.Diff(tc.want, got))
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		claim string
		want  bool
	}{{"data-pg-0", true}, {"data-pg-12", true}, {"data-other-pg-0", true}, {"data-pg-01", false}, {"-pg-0", false}, {"pg-0", false}, {"data-pg", false}, {"data-mypg-0", false}} {
		if got := IsClaimOf(tc.claim, "pg"); got != tc.want {
			t.Errorf("claim %s: %v, expected %v", tc.claim, got, tc.want)
		}
	}
	owned := pod("pg-0", "", "", false)
	owned.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "pg", Controller: ptr(true)}}
	orphan, other := pod("pg-1", "", "", false), pod("pg-x", "", "", false)
	if IsPodOf(&owned, "pg") || !IsPodOf(&orphan, "pg") || IsPodOf(&other, "pg") {
		t.Error("a pod of another controller, an orphan or a pod without an ordinal is taken for what it is not")
	}
}

func TestClaimStatuses(t *testing.T) {
	waits := storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "waits"}, VolumeBindingMode: ptr(storagev1.VolumeBindingWaitForFirstConsumer)}
	atOnce := storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "at-once"}}
	failed := func(reason string, at time.Duration) corev1.Event {
		return corev1.Event{Reason: reason, Message: "no space", LastTimestamp: metav1.NewTime(start.Add(at)),
			InvolvedObject: corev1.ObjectReference{Kind: "PersistentVolumeClaim", Name: "data-pg-0", UID: "uid-data-pg-0"}}
	}
	terminating := claim("data-pg-0", corev1.ClaimBound, nil, "v")
	terminating.DeletionTimestamp = &metav1.Time{Time: start}
	defaulted := waits
	defaulted.Annotations = map[string]string{defaultClass: "true"}
	for _, tc := range []struct {
		name    string
		claim   *corev1.PersistentVolumeClaim
		volumes []corev1.PersistentVolume
		known   []string
		classes []storagev1.StorageClass
		events  []corev1.Event
		want    ClaimState
	}{
		{"bound", ptr(claim("data-pg-0", corev1.ClaimBound, nil, "v")), nil, nil, nil, nil, Bound},
		{"waits for its pod", ptr(claim("data-pg-0", corev1.ClaimPending, ptr("waits"), "")), nil, nil, []storagev1.StorageClass{waits}, nil, WaitingForConsumer},
		{"the default class waits", ptr(claim("data-pg-0", corev1.ClaimPending, nil, "")), nil, nil, []storagev1.StorageClass{defaulted}, nil, WaitingForConsumer},
		{"provisioning failed", ptr(claim("data-pg-0", corev1.ClaimPending, ptr("waits"), "")), nil, nil, []storagev1.StorageClass{waits},
			[]corev1.Event{failed("ProvisioningFailed", 0)}, ProvisioningFailed},
		{"it failed and went well after", ptr(claim("data-pg-0", corev1.ClaimPending, ptr("waits"), "")), nil, nil, []storagev1.StorageClass{waits},
			[]corev1.Event{failed("ProvisioningSucceeded", time.Minute), failed("ProvisioningFailed", 0)}, WaitingForConsumer},
		{"binds at once and has not", ptr(claim("data-pg-0", corev1.ClaimPending, ptr("at-once"), "")), nil, nil, []storagev1.StorageClass{atOnce}, nil, Pending},
		{"its class is gone", ptr(claim("data-pg-0", corev1.ClaimPending, ptr("waits"), "")), nil, nil, nil, nil, ClassMissing},
		{"no class and no default", ptr(claim("data-pg-0", corev1.ClaimPending, nil, "")), nil, nil, []storagev1.StorageClass{waits}, nil, ClassMissing},
		{"lost", ptr(claim("data-pg-0", corev1.ClaimLost, nil, "v")), nil, nil, nil, nil, Lost},
		{"being deleted", &terminating, nil, nil, nil, nil, Terminating},
		{"never made", nil, nil, nil, nil, nil, NotYetMade},
		{"its volume is left", nil, []corev1.PersistentVolume{volume("v", "data-pg-0")}, nil, nil, nil, Missing},
		{"the inventory holds it", nil, nil, []string{"data-pg-0"}, nil, nil, Missing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &Facts{Namespace: "shop", Name: "pg", StatefulSet: statefulSet(1), Volumes: tc.volumes, Classes: tc.classes}
			if tc.claim != nil {
				f.Claims = []corev1.PersistentVolumeClaim{*tc.claim}
			}
			got := f.ClaimStatuses(f.WantedClaims(nil), tc.known, tc.events)
			if len(got) != 1 || got[0].State != tc.want {
				t.Errorf("%v, expected %s", got, tc.want)
			}
		})
	}
}

func TestWantedClaims(t *testing.T) {
	f := &Facts{Name: "pg", Claims: []corev1.PersistentVolumeClaim{claim("data-pg-7", corev1.ClaimBound, nil, "v")}}
	if got := f.WantedClaims([]string{"data-pg-1", "data-pg-0"}); !cmp.Equal(got, []string{"data-pg-0", "data-pg-1", "data-pg-7"}) {
		t.Errorf("without a StatefulSet: %v, expected those of the inventory and those there are", got)
	}
	f.StatefulSet = statefulSet(1)
	if got := f.WantedClaims([]string{"data-pg-5"}); !cmp.Equal(got, []string{"data-pg-0"}) {
		t.Errorf("with a StatefulSet: %v, expected its own and no leftover of a scale-down", got)
	}
}

func TestTroubles(t *testing.T) {
	failing := attachment("va", "v", "a", false)
	failing.Status.AttachError = &storagev1.VolumeError{Message: "stuck"}
	leaving := attachment("va", "v", "a", true)
	leaving.DeletionTimestamp = &metav1.Time{Time: start}
	stuckLeaving := leaving
	stuckLeaving.Status.DetachError = &storagev1.VolumeError{Message: "busy"}
	going := volume("v", "data-pg-0")
	going.DeletionTimestamp, going.Finalizers = &metav1.Time{Time: start}, []string{"x"}
	noAttach := []storagev1.CSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com"}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr(false)}}}
	for _, tc := range []struct {
		name        string
		nodes       []corev1.Node
		attachments []storagev1.VolumeAttachment
		volumes     []corev1.PersistentVolume
		pods        []corev1.Pod
		drivers     []storagev1.CSIDriver
		want        []TroubleKind
	}{
		{name: "attached", nodes: []corev1.Node{readyNode("a", "True")}, attachments: []storagev1.VolumeAttachment{attachment("va", "v", "a", true)}},
		{name: "attach error", nodes: []corev1.Node{readyNode("a", "True")}, attachments: []storagev1.VolumeAttachment{failing}, want: []TroubleKind{AttachError}},
		{name: "attaching", nodes: []corev1.Node{readyNode("a", "True")}, attachments: []storagev1.VolumeAttachment{attachment("va", "v", "a", false)}, want: []TroubleKind{Attaching}},
		{name: "detaching", nodes: []corev1.Node{readyNode("a", "True")}, attachments: []storagev1.VolumeAttachment{leaving}, want: []TroubleKind{Detaching}},
		{name: "detach error", nodes: []corev1.Node{readyNode("a", "True")}, attachments: []storagev1.VolumeAttachment{stuckLeaving}, want: []TroubleKind{DetachError}},
		{name: "the node is gone, whatever its attachment says", attachments: []storagev1.VolumeAttachment{failing}, want: []TroubleKind{NodeGone}},
		{name: "a pod on a node that is gone", pods: []corev1.Pod{pod("pg-0", "a", "data-pg-0", false)}, want: []TroubleKind{NodeGone}},
		{name: "node unknown", nodes: []corev1.Node{readyNode("a", "Unknown")}, attachments: []storagev1.VolumeAttachment{attachment("va", "v", "a", true)}, want: []TroubleKind{NodeNotReady}},
		{name: "node out of service", nodes: []corev1.Node{readyNode("a", "False", TaintOutOfService)}, attachments: []storagev1.VolumeAttachment{attachment("va", "v", "a", true)}, want: []TroubleKind{NodeOutOfService}},
		{name: "a taint on a node that is ready proves nothing", nodes: []corev1.Node{readyNode("a", "True", TaintOutOfService)}, attachments: []storagev1.VolumeAttachment{attachment("va", "v", "a", true)}},
		{name: "nobody has asked for an attachment", nodes: []corev1.Node{readyNode("a", "True")}, pods: []corev1.Pod{pod("pg-0", "a", "data-pg-0", false)}, want: []TroubleKind{Attaching}},
		{name: "the driver needs none", nodes: []corev1.Node{readyNode("a", "True")}, pods: []corev1.Pod{pod("pg-0", "a", "data-pg-0", false)}, drivers: noAttach},
		{name: "a volume is going", volumes: []corev1.PersistentVolume{going}, want: []TroubleKind{VolumeTerminating}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &Facts{Namespace: "shop", Name: "pg", StatefulSet: statefulSet(1), Nodes: tc.nodes, Attachments: tc.attachments, Pods: tc.pods, Drivers: tc.drivers,
				Volumes: []corev1.PersistentVolume{volume("v", "data-pg-0")}, Claims: []corev1.PersistentVolumeClaim{claim("data-pg-0", corev1.ClaimBound, nil, "v")}}
			if tc.volumes != nil {
				f.Volumes = tc.volumes
			}
			var got []TroubleKind
			for _, tr := range f.Troubles() {
				got = append(got, tr.Kind)
			}
			if !cmp.Equal(got, tc.want) {
				t.Errorf("%v, expected %v", got, tc.want)
			}
		})
	}
}

func TestWaiting(t *testing.T) {
	old := statefulSet(1)
	old.Generation, old.Status.ObservedGeneration = 2, 1
	leaving := pod("pg-0", "a", "", true)
	leaving.DeletionTimestamp = &metav1.Time{Time: start}
	gone := statefulSet(1)
	gone.DeletionTimestamp = &metav1.Time{Time: start}
	for _, tc := range []struct {
		name string
		set  *appsv1.StatefulSet
		pods []corev1.Pod
		want []string
	}{
		{"ready", statefulSet(2), []corev1.Pod{pod("pg-0", "a", "", true), pod("pg-1", "a", "", true)}, nil},
		{"a leftover pod does not stand in", statefulSet(2), []corev1.Pod{pod("pg-0", "a", "", true), pod("pg-5", "a", "", true)}, []string{"pg-1 does not exist"}},
		{"not ready", statefulSet(1), []corev1.Pod{pod("pg-0", "a", "", false)}, []string{"pg-0 on node a is not ready"}},
		{"not scheduled", statefulSet(1), []corev1.Pod{pod("pg-0", "", "", false)}, []string{"pg-0 is not scheduled"}},
		{"ready and leaving", statefulSet(1), []corev1.Pod{leaving}, []string{"pg-0 is being deleted"}},
		{"not observed", old, []corev1.Pod{pod("pg-0", "a", "", true)}, []string{"generation 2 is not observed"}},
		{"no StatefulSet", nil, nil, []string{"does not exist"}},
		{"being deleted", gone, []corev1.Pod{pod("pg-0", "a", "", true)}, []string{"being deleted"}},
		{"scaled to zero", statefulSet(0), nil, []string{"scaled to zero"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := (&Facts{Namespace: "shop", Name: "pg", StatefulSet: tc.set, Pods: tc.pods}).Waiting()
			if len(got) != len(tc.want) {
				t.Fatalf("%q, expected %q", got, tc.want)
			}
			for i := range got {
				if !strings.Contains(got[i], tc.want[i]) {
					t.Errorf("%q, expected %q in it", got[i], tc.want[i])
				}
			}
		})
	}
}

func TestDrivers(t *testing.T) {
	for provisioner, want := range map[string]string{"kubernetes.io/aws-ebs": "ebs.csi.aws.com", "csi.example.com": "csi.example.com", NoProvisioner: ""} {
		if got := DriverName(provisioner); got != want {
			t.Errorf("%s: %q, expected %q", provisioner, got, want)
		}
	}
	if got := DriverOfVolume(&corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}}); got != "" {
		t.Errorf("a hostPath volume has driver %q, expected none", got)
	}
}

func TestDefaultClass(t *testing.T) {
	class := func(name string, def bool, at time.Duration) storagev1.StorageClass {
		c := storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(start.Add(at))}}
		if def {
			c.Annotations = map[string]string{defaultClass: "true"}
		}
		return c
	}
	if d := DefaultClass([]storagev1.StorageClass{class("a", true, 0), class("b", true, time.Hour), class("c", false, 2*time.Hour)}); d == nil || d.Name != "b" {
		t.Errorf("%v, expected the newest default, b", d)
	}
	if d := DefaultClass([]storagev1.StorageClass{class("c", false, 0)}); d != nil {
		t.Errorf("%v, expected none", d.Name)
	}
}
