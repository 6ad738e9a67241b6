package assess_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/functions/volumesync"
	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/volume"
)

// attachErrorMended: the driver refuses to attach until the attachment is reset.
func attachErrorMended(t *testing.T, l *live) {
	pv := l.volumeOf(t, sample.Claim(1))
	state := l.stack.Layout().CSIState()
	if err := csidriver.SetFault(state, "attach", csidriver.Fault{RPC: "ControllerPublishVolume", Code: "Internal", Message: "the volume is stuck",
		VolumeID: pv.Spec.CSI.VolumeHandle, UntilUnpublished: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = csidriver.ClearFault(state, "attach") })
	l.detach(t, sample.Pod(1), pv)
	l.until(t, "the attach error", []cluster.Source{{GVR: cluster.VolumeAttachments}}, func(ctx context.Context) (bool, error) {
		as, err := l.attachments(ctx, pv.Name)
		return len(as) == 1 && as[0].Status.AttachError != nil && !as[0].Status.Attached, err
	})
	e, _ := l.env(t, l.c)
	r := l.run(run.Recover)
	l.wants(t, e, r, map[signal.Name][2]string{
		signal.CSIDriverHealthy: {"True", ""}, signal.PVCsBound: {"True", ""}, signal.VolumesAttached: {"False", "AttachError"}, signal.WorkloadReady: {"False", "NotReady"}})
	if sec := l.volumesync(t, e, r); sec.Phase != run.Succeeded || len(sec.Done) != 1 {
		t.Fatalf("%+v, expected Succeeded with one change", sec)
	}
	l.wants(t, e, r, healthy)
}

// detach deletes a pod and waits until its volume is detached, so that the next pod must attach anew. The fault that keeps
// the next attach from succeeding must be in force already and end only by an unpublish after it.
func (l *live) detach(t *testing.T, pod string, pv *corev1.PersistentVolume) {
	t.Helper()
	as, err := l.attachments(t.Context(), pv.Name)
	if err != nil || len(as) != 1 {
		t.Fatalf("%d attachments of %s (%v), expected 1", len(as), pv.Name, err)
	}
	old := as[0].UID
	// Cordon the node that has it: the next pod is elsewhere, and its volume must be attached anew.
	node := as[0].Spec.NodeName
	l.cordon(t, node, true)
	l.delete(t, cluster.Pods, sample.Namespace, pod, metav1.DeleteOptions{})
	l.until(t, "the detach", []cluster.Source{{GVR: cluster.VolumeAttachments}}, func(ctx context.Context) (bool, error) {
		as, err := l.attachments(ctx, pv.Name)
		return err == nil && (len(as) == 0 || as[0].UID != old), err
	})
	if err := csidriver.SetFault(l.stack.Layout().CSIState(), "attach", csidriver.Fault{RPC: "ControllerPublishVolume", Code: "Internal", Message: "the volume is stuck",
		VolumeID: pv.Spec.CSI.VolumeHandle, UntilUnpublished: true}); err != nil {
		t.Fatal(err)
	}
	l.cordon(t, node, false)
}

func (l *live) cordon(t *testing.T, node string, on bool) {
	t.Helper()
	patch := `{"spec":{"unschedulable":null}}`
	if on {
		patch = `{"spec":{"unschedulable":true}}`
	}
	l.patch(t, cluster.Nodes, "", node, patch)
}

func (l *live) volumeOf(t *testing.T, claim string) *corev1.PersistentVolume {
	t.Helper()
	c, err := cluster.Get[corev1.PersistentVolumeClaim](t.Context(), l.c, cluster.PersistentVolumeClaims, sample.Namespace, claim)
	if err != nil {
		t.Fatal(err)
	}
	v, err := cluster.Get[corev1.PersistentVolume](t.Context(), l.c, cluster.PersistentVolumes, "", c.Spec.VolumeName)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (l *live) attachments(ctx context.Context, volume string) ([]storagev1.VolumeAttachment, error) {
	as, err := cluster.List[storagev1.VolumeAttachment](ctx, l.c, cluster.VolumeAttachments, "", metav1.ListOptions{})
	var out []storagev1.VolumeAttachment
	for _, a := range as {
		if a.Spec.Source.PersistentVolumeName != nil && *a.Spec.Source.PersistentVolumeName == volume {
			out = append(out, a)
		}
	}
	return out, err
}

// nodeGone: the Node object of a pod is deleted. The StatefulSet's next pod goes elsewhere.
func nodeGone(t *testing.T, l *live) {
	pod := l.podAwayFromController(t)
	node, err := l.c.Dynamic.Resource(cluster.Nodes).Get(t.Context(), pod.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	csinode, err := l.c.Dynamic.Resource(cluster.CSINodes).Get(t.Context(), pod.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	there, err := cluster.List[corev1.Pod](t.Context(), l.c, cluster.Pods, sample.Namespace, metav1.ListOptions{FieldSelector: "spec.nodeName=" + pod.Spec.NodeName})
	if err != nil {
		t.Fatal(err)
	}
	l.delete(t, cluster.Nodes, "", pod.Spec.NodeName, metav1.DeleteOptions{})
	e, js := l.env(t, l.c)
	r := l.run(run.Recover)
	l.wants(t, e, r, map[signal.Name][2]string{
		signal.CSIDriverHealthy: {"True", ""}, signal.PVCsBound: {"True", ""}, signal.VolumesAttached: {"False", "NodeGone"}})
	handle := steptest.Retried((&volumesync.Handler{Env: e}).Handle)
	sec, err := handle(t.Context(), "start", "VolumeAttachmentSync", r)
	if err != nil {
		t.Fatal(err)
	}
	// From the journal, for a call that was repeated says only what it did itself.
	done := map[string]bool{}
	for _, c := range changes(t, js, r) {
		done[c.Object.String()] = true
	}
	if len(done) != 2*len(there) {
		t.Fatalf("changed %v, expected %d pods and as many attachments", done, len(there))
	}
	if now, err := cluster.Get[corev1.Pod](t.Context(), l.c, cluster.Pods, sample.Namespace, pod.Name); err == nil && now.UID == pod.UID {
		t.Error("the pod of the node that is gone still exists")
	}
	// The machine comes back under its name.
	for _, o := range []*unstructured.Unstructured{node, csinode} {
		o.SetUID("")
		o.SetResourceVersion("")
		o.SetOwnerReferences(nil)
	}
	unstructured.RemoveNestedField(node.Object, "spec", "taints")
	if _, err := l.c.Dynamic.Resource(cluster.Nodes).Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	l.until(t, "the old CSINode is collected", nil, func(ctx context.Context) (bool, error) {
		_, err := l.c.Dynamic.Resource(cluster.CSINodes).Create(ctx, csinode, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			have, gerr := l.c.Dynamic.Resource(cluster.CSINodes).Get(ctx, csinode.GetName(), metav1.GetOptions{})
			return gerr == nil && len(have.GetOwnerReferences()) == 0, nil
		}
		return false, err
	})
	r.VolumeSync = &sec
	for r.VolumeSync.Phase == run.Started || r.VolumeSync.Phase == run.Running {
		next, err := handle(t.Context(), "await", "AwaitVolumeAttachmentSync", r)
		if err != nil {
			t.Fatal(err)
		}
		r.VolumeSync = &next
	}
	if r.VolumeSync.Phase != run.Succeeded {
		t.Fatalf("%+v, expected Succeeded", r.VolumeSync)
	}
	l.wants(t, e, r, healthy)
}

// podAwayFromController is a pod of the shop on a node that does not run the CSI driver's controller.
func (l *live) podAwayFromController(t *testing.T) *corev1.Pod {
	t.Helper()
	controllers, err := cluster.List[corev1.Pod](t.Context(), l.c, cluster.Pods, stack.CSIControllerNamespace, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := sample.Pods(t.Context(), l.c, sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods {
		if !slices.ContainsFunc(controllers, func(c corev1.Pod) bool { return c.Spec.NodeName == pods[i].Spec.NodeName }) {
			return &pods[i]
		}
	}
	t.Fatal("every pod of the shop is on the controller's node")
	return nil
}

// nodeOutOfService: a node that is only not ready is left alone; once somebody has tainted it as proven down, its pods and
// attachments are released.
func nodeOutOfService(t *testing.T, l *live) {
	pod := l.podAwayFromController(t)
	node := pod.Spec.NodeName
	patch := func(p string) { l.patch(t, cluster.Nodes, "", node, p) }
	patch(`{"metadata":{"labels":{"` + kwok.NotReadyLabel + `":"true"}}}`)
	l.until(t, "the node is not ready", []cluster.Source{{GVR: cluster.Nodes}}, func(ctx context.Context) (bool, error) {
		n, err := cluster.Get[corev1.Node](ctx, l.c, cluster.Nodes, "", node)
		return err == nil && !volume.NodeReady(n), err
	})
	e, js := l.env(t, l.c)
	r := l.run(run.Recover)
	l.wants(t, e, r, map[signal.Name][2]string{signal.VolumesAttached: {"False", "NodeNotReady"}})
	handle := steptest.Retried((&volumesync.Handler{Env: e}).Handle)
	if sec, err := handle(t.Context(), "start", "VolumeAttachmentSync", r); err != nil || len(sec.Found) != 1 || len(sec.Done) != 0 {
		t.Fatalf("%+v %v, expected that the node is found and left alone", sec, err)
	}
	if es := changes(t, js, r); len(es) != 0 {
		t.Fatalf("%d changes, expected none", len(es))
	}
	n, err := cluster.Get[corev1.Node](t.Context(), l.c, cluster.Nodes, "", node)
	if err != nil {
		t.Fatal(err)
	}
	n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: volume.TaintOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
	b, err := json.Marshal(map[string]any{"spec": map[string]any{"taints": n.Spec.Taints}})
	if err != nil {
		t.Fatal(err)
	}
	patch(string(b))
	if sec := l.volumesync(t, e, r); sec.Phase != run.Succeeded {
		t.Fatalf("%+v, expected Succeeded", sec)
	}
	patch(`{"metadata":{"labels":{"` + kwok.NotReadyLabel + `":null}},"spec":{"taints":null}}`)
	l.until(t, "the node is ready", []cluster.Source{{GVR: cluster.Nodes}}, func(ctx context.Context) (bool, error) {
		n, err := cluster.Get[corev1.Node](ctx, l.c, cluster.Nodes, "", node)
		return err == nil && volume.NodeReady(n) && len(n.Spec.Taints) == 0, err
	})
	l.wants(t, e, r, healthy)
}

// orphanedFinalizer: a volume that was once a claim's is being deleted, and the attacher whose finalizer holds it is no more.
// Only that finalizer goes.
func orphanedFinalizer(t *testing.T, l *live) {
	const orphan, keeps = "external-attacher/gone-example-com", "example.com/keeps"
	pv := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PersistentVolume",
		"metadata": map[string]any{"name": "orphan", "finalizers": []any{keeps, orphan}},
		"spec": map[string]any{"capacity": map[string]any{"storage": "1Gi"}, "accessModes": []any{"ReadWriteOnce"}, "persistentVolumeReclaimPolicy": "Retain",
			"csi":      map[string]any{"driver": "gone.example.com", "volumeHandle": "gone"},
			"claimRef": map[string]any{"namespace": sample.Namespace, "name": sample.Claim(0), "uid": "11111111-1111-1111-1111-111111111111"}}}}
	if _, err := l.c.Dynamic.Resource(cluster.PersistentVolumes).Create(t.Context(), pv, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	l.delete(t, cluster.PersistentVolumes, "", "orphan", metav1.DeleteOptions{})
	l.until(t, "its own controller lets go of it", []cluster.Source{{GVR: cluster.PersistentVolumes}}, func(ctx context.Context) (bool, error) {
		v, err := cluster.Get[corev1.PersistentVolume](ctx, l.c, cluster.PersistentVolumes, "", "orphan")
		return err == nil && len(v.Finalizers) == 2, err
	})
	gone, err := cluster.Get[corev1.PersistentVolume](t.Context(), l.c, cluster.PersistentVolumes, "", "orphan")
	if err != nil || gone.DeletionTimestamp == nil {
		t.Fatalf("%v, expected it to be being deleted", err)
	}
	// Before stuckAfter and after it, by the clock of the run, whatever the machine's says.
	e, _ := l.env(t, l.c)
	handle := steptest.Retried((&volumesync.Handler{Env: e}).Handle)
	e.Now = func() time.Time { return gone.DeletionTimestamp.Time }
	if sec, err := handle(t.Context(), "start", "VolumeAttachmentSync", l.run(run.Recover)); err != nil || len(sec.Done) != 0 {
		t.Fatalf("%+v %v, expected nothing done before stuckAfter", sec, err)
	}
	e.Now = func() time.Time { return gone.DeletionTimestamp.Add(time.Hour) }
	sec, err := handle(t.Context(), "start", "VolumeAttachmentSync", l.run(run.Recover))
	if err != nil || len(sec.Done) != 1 {
		t.Fatalf("%+v %v, expected one finalizer removed", sec, err)
	}
	v, err := cluster.Get[corev1.PersistentVolume](t.Context(), l.c, cluster.PersistentVolumes, "", "orphan")
	if err != nil || !slices.Equal(v.Finalizers, []string{keeps}) {
		t.Fatalf("finalizers %v (%v), expected [%s]", v.Finalizers, err, keeps)
	}
	if _, err := l.c.Dynamic.Resource(cluster.PersistentVolumes).Patch(t.Context(), "orphan", types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers/0"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
