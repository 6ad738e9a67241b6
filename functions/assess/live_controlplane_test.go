package assess_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/functions/controlplane"
	"fallbackchain.io/fallback/functions/volumesync"
	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
)

// schedulingImpossible: a selector that no node has. The volume tier refuses it once it has persisted, and the control plane tier puts the template back.
func schedulingImpossible(t *testing.T, l *live) {
	l.patch(t, cluster.StatefulSets, sample.Namespace, sample.StatefulSet, `{"spec":{"template":{"spec":{"nodeSelector":{"disk":"none-has-this"}}}}}`)
	e, _ := l.env(t, l.c)
	r := l.run(run.Recover)
	l.until(t, "SchedulingPossible False", []cluster.Source{{GVR: cluster.Pods, Namespace: sample.Namespace}}, func(context.Context) (bool, error) {
		return l.assessed(t, e, r).Signals[signal.SchedulingPossible].Status == signal.False, nil
	})
	l.wants(t, e, r, map[signal.Name][2]string{
		signal.SchedulingPossible: {"False", "SchedulingImpossible"}, signal.CSIDriverHealthy: {"True", ""}, signal.PVCsBound: {"True", ""}})
	_, err := steptest.Retried((&volumesync.Handler{Env: e}).Handle)(t.Context(), "start", "VolumeAttachmentSync", r)
	var f *fault.Fault
	if !errors.As(err, &f) || f.Code != fault.SchedulingImpossible {
		t.Fatalf("start says %v, expected SchedulingImpossible", err)
	}
	overwrite := &l.plan.Spec.Tiers.ControlPlaneReconcile.Overwrite
	*overwrite = false
	_, err = steptest.Retried((&controlplane.Handler{Env: e}).Handle)(t.Context(), "start", "ControlPlaneReconcile", r)
	if !errors.As(err, &f) || f.Code != fault.OverwriteRefused || !strings.Contains(f.Error(), "spec.template.spec.nodeSelector") {
		t.Fatalf("start says %v, expected OverwriteRefused naming spec.template.spec.nodeSelector", err)
	}
	*overwrite = true
	if sec := l.controlplane(t, e, r); sec.Phase != run.Succeeded {
		t.Fatalf("%+v, expected Succeeded", sec)
	}
	if len(l.statefulSet(t).Spec.Template.Spec.NodeSelector) != 0 {
		t.Error("the selector is still there")
	}
	l.wants(t, e, r, healthy)
}

// objectsDeleted: the StatefulSet, a Secret and the CSI controller's Deployment are gone; the claims are still there.
func objectsDeleted(t *testing.T, l *live) {
	l.delete(t, cluster.Deployments, stack.CSIControllerNamespace, stack.CSIController, metav1.DeleteOptions{})
	l.delete(t, cluster.StatefulSets, sample.Namespace, sample.StatefulSet, metav1.DeleteOptions{})
	l.delete(t, cluster.Secrets, sample.Namespace, sample.AppSecret, metav1.DeleteOptions{})
	l.noPods(t)
	e, js := l.env(t, l.c)
	r := l.run(run.Recover)
	l.wants(t, e, r, map[signal.Name][2]string{
		signal.CSIDriverHealthy: {"False", "ControllerMissing"}, signal.PVCsBound: {"True", "Bound"}, signal.WorkloadReady: {"False", "ObjectsMissing"},
		signal.InventoryVerified: {"True", ""}})
	if sec := l.controlplane(t, e, r); sec.Phase != run.Succeeded || len(changes(t, js, r)) < 3 {
		t.Fatalf("%+v, expected Succeeded with three changes", sec)
	}
	l.wants(t, e, r, healthy)
}

func (l *live) noPods(t *testing.T) {
	t.Helper()
	l.until(t, "the pods are gone", []cluster.Source{{GVR: cluster.Pods, Namespace: sample.Namespace}}, func(ctx context.Context) (bool, error) {
		ps, err := sample.Pods(ctx, l.c, sample.Namespace)
		return err == nil && len(ps) == 0, err
	})
}

// everythingDeleted: StatefulSet, class and claims. One volume was kept (Retain), one claim has a live snapshot, one only the
// handle in the inventory. The driver reports late what it has free for the class that is made again: until then no node has enough for
// the scheduler, and waiting mends that.
func everythingDeleted(t *testing.T, l *live) {
	kept := l.volumeOf(t, sample.Claim(0))
	l.patch(t, cluster.PersistentVolumes, "", kept.Name, `{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`)
	l.delete(t, cluster.StatefulSets, sample.Namespace, sample.StatefulSet, metav1.DeleteOptions{})
	l.noPods(t)
	l.delete(t, cluster.VolumeSnapshots, sample.Namespace, sample.Snapshot(2), metav1.DeleteOptions{})
	for i := range sample.Replicas {
		l.delete(t, cluster.PersistentVolumeClaims, sample.Namespace, sample.Claim(i), metav1.DeleteOptions{})
	}
	l.delete(t, cluster.StorageClasses, "", stack.StorageClass, metav1.DeleteOptions{})
	l.until(t, "only the kept volume is left", []cluster.Source{{GVR: cluster.PersistentVolumes}}, func(ctx context.Context) (bool, error) {
		vs, err := cluster.List[corev1.PersistentVolume](ctx, l.c, cluster.PersistentVolumes, "", metav1.ListOptions{})
		return err == nil && len(vs) == 1 && vs[0].Status.Phase == corev1.VolumeReleased, err
	})
	e, _ := l.env(t, l.c)
	r := l.run(run.Recover)
	l.wants(t, e, r, map[signal.Name][2]string{signal.PVCsBound: {"False", "ObjectsMissing"}, signal.WorkloadReady: {"False", "ObjectsMissing"}})
	state := l.stack.Layout().CSIState()
	if err := csidriver.SetFault(state, "capacity", csidriver.Fault{RPC: "GetCapacity", Code: "Unavailable", Message: "not counted yet"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = csidriver.ClearFault(state, "capacity") })
	capacities := storagev1.SchemeGroupVersion.WithResource("csistoragecapacities")
	l.until(t, "what was free for the class is forgotten", []cluster.Source{{GVR: capacities}}, func(ctx context.Context) (bool, error) {
		cs, err := cluster.List[storagev1.CSIStorageCapacity](ctx, l.c, capacities, "", metav1.ListOptions{})
		return err == nil && len(cs) == 0, err
	})
	persistence := l.plan.Spec.Tiers.FailedSchedulingPersistence
	defer func() { l.plan.Spec.Tiers.FailedSchedulingPersistence = persistence }()
	l.plan.Spec.Tiers.FailedSchedulingPersistence = plan.Duration(time.Second)
	if sec := l.controlplane(t, e, r, func() {
		l.until(t, "the scheduler finds too little storage", []cluster.Source{{GVR: cluster.Pods, Namespace: sample.Namespace}}, func(ctx context.Context) (bool, error) {
			ps, err := sample.Pods(ctx, l.c, sample.Namespace)
			return err == nil && slices.ContainsFunc(ps, func(p corev1.Pod) bool { return shortOfStorage(p, 2*time.Second) }), err
		})
		if s := l.assessed(t, e, r).Signals[signal.SchedulingPossible]; s.Status == signal.False {
			t.Errorf("%s is %s (%s), expected that waiting may mend it", signal.SchedulingPossible, s.Status, s.Message)
		}
		if err := csidriver.ClearFault(state, "capacity"); err != nil {
			t.Error(err)
		}
	}); sec.Phase != run.Succeeded {
		t.Fatalf("%+v, expected Succeeded", sec)
	}
	if v := l.volumeOf(t, sample.Claim(0)); v.UID != kept.UID {
		t.Errorf("claim %s is on volume %s, expected its own %s", sample.Claim(0), v.Name, kept.Name)
	}
	for i := 1; i < sample.Replicas; i++ {
		c, err := cluster.Get[corev1.PersistentVolumeClaim](t.Context(), l.c, cluster.PersistentVolumeClaims, sample.Namespace, sample.Claim(i))
		if err != nil {
			t.Fatal(err)
		}
		if c.Spec.DataSource == nil || c.Spec.DataSource.Kind != "VolumeSnapshot" {
			t.Errorf("claim %s was not restored from a snapshot", c.Name)
		}
	}
	l.wants(t, e, r, healthy)
}

// shortOfStorage tells whether the scheduler has found no node with enough free storage for the pod for so long.
func shortOfStorage(p corev1.Pod, long time.Duration) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && strings.Contains(c.Message, "free storage") && time.Since(c.LastTransitionTime.Time) > long
	})
}

// namespaceDeleted: the namespace is gone with everything in it, volumes included. Its data comes back from the snapshots that the
// inventory recorded, whose VolumeSnapshots went with the namespace.
func namespaceDeleted(t *testing.T, l *live) {
	l.delete(t, cluster.StatefulSets, sample.Namespace, sample.StatefulSet, metav1.DeleteOptions{})
	l.noPods(t)
	for _, n := range []string{sample.Claim(0), sample.Claim(1), sample.Claim(2)} {
		v := l.volumeOf(t, n)
		if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
			l.patch(t, cluster.PersistentVolumes, "", v.Name, `{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`)
		}
	}
	l.delete(t, cluster.Namespaces, "", sample.Namespace, metav1.DeleteOptions{})
	e, _ := l.env(t, l.c)
	r := l.run(run.Recover)
	_, err := steptest.Retried((&controlplane.Handler{Env: e}).Handle)(t.Context(), "start", "ControlPlaneReconcile", r)
	var f *fault.Fault
	if err != nil && (!errors.As(err, &f) || f.Code != fault.NotQualified) {
		t.Fatalf("start in a namespace that is being deleted says %v, expected NotQualified", err)
	}
	l.until(t, "namespace and volumes are gone", []cluster.Source{{GVR: cluster.Namespaces}, {GVR: cluster.PersistentVolumes}}, func(ctx context.Context) (bool, error) {
		_, err := cluster.Get[corev1.Namespace](ctx, l.c, cluster.Namespaces, "", sample.Namespace)
		if !apierrors.IsNotFound(err) {
			return false, err
		}
		vs, err := cluster.List[corev1.PersistentVolume](ctx, l.c, cluster.PersistentVolumes, "", metav1.ListOptions{})
		return err == nil && len(vs) == 0, err
	})
	r = l.run(run.Recover)
	l.wants(t, e, r, map[signal.Name][2]string{
		signal.CSIDriverHealthy: {"True", ""}, signal.PVCsBound: {"False", "ObjectsMissing"}, signal.WorkloadReady: {"False", "ObjectsMissing"}, signal.VolumesAttached: {"NotApplicable", ""}})
	if sec := l.controlplane(t, e, r); sec.Phase != run.Succeeded {
		t.Fatalf("%+v, expected Succeeded", sec)
	}
	l.wants(t, e, r, healthy)
	counts, err := sample.Counts(t.Context(), l.stack.Kubeconfig(), sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for pod, n := range counts {
		if n != sample.Orders {
			t.Errorf("pod %s holds %d orders, expected %d", pod, n, sample.Orders)
		}
	}
}

// drillScope: in a drill the tier works in the drill's namespace, makes claims from the inventory's snapshots, and leaves production
// and everything cluster-scoped that is not its own alone.
func drillScope(t *testing.T, l *live) {
	r := l.run(run.Drill)
	ns := step.DrillNamespace(r.ID)
	nsObject := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": ns, "labels": map[string]any{change.LabelRun: r.ID}}}}
	if _, err := l.c.Dynamic.Resource(cluster.Namespaces).Create(t.Context(), nsObject, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	before := l.statefulSet(t)
	e, js := l.env(t, l.c)
	handle := steptest.Retried((&controlplane.Handler{Env: e}).Handle)
	sec, err := handle(t.Context(), "start", "ControlPlaneReconcile", r)
	if err != nil {
		t.Fatal(err)
	}
	r.ControlPlane = &sec
	for r.ControlPlane.Phase == run.Started || r.ControlPlane.Phase == run.Running {
		next, err := handle(t.Context(), "await", "AwaitControlPlaneReconcile", r)
		if err != nil {
			t.Fatal(err)
		}
		r.ControlPlane = &next
	}
	if r.ControlPlane.Phase != run.Succeeded {
		t.Fatalf("%+v, expected Succeeded", r.ControlPlane)
	}
	es := changes(t, js, r)
	if len(es) == 0 {
		t.Fatal("no changes, expected some")
	}
	for _, c := range es {
		own := c.Object.Kind == "VolumeSnapshotContent" && strings.Contains(c.Object.Name, r.ID)
		if c.Object.Namespace != ns && !own {
			t.Errorf("the drill changed %s", c.Object)
		}
	}
	// Its controller writes the status whenever it likes.
	if after := l.statefulSet(t); after.UID != before.UID || after.Generation != before.Generation || !maps.Equal(after.Labels, before.Labels) || !maps.Equal(after.Annotations, before.Annotations) {
		t.Errorf("production's StatefulSet went from %+v to %+v", before.ObjectMeta, after.ObjectMeta)
	}
	counts, err := sample.Counts(t.Context(), l.stack.Kubeconfig(), ns)
	if err != nil || len(counts) != sample.Replicas {
		t.Fatalf("%d servers answer (%v), expected %d", len(counts), err, sample.Replicas)
	}
	for pod, n := range counts {
		if n != sample.Orders {
			t.Errorf("pod %s holds %d orders, expected %d", pod, n, sample.Orders)
		}
	}
	l.delete(t, cluster.Namespaces, "", ns, metav1.DeleteOptions{})
}
