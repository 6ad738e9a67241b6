package assess_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"fallbackchain.io/fallback/functions/controlplane"
	"fallbackchain.io/fallback/functions/volumesync"
	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// healthy is what a workload without a fault looks like.
var healthy = map[signal.Name][2]string{
	signal.APIServerReady: {"True", "Ready"}, signal.CSIDriverHealthy: {"True", "Healthy"},
	signal.CSIDriverSupported: {"Unknown", "DriverNotInTable"}, signal.VolumesAttached: {"True", "Attached"},
	signal.PVCsBound: {"True", "Bound"}, signal.EtcdSnapshotVerified: {"NotApplicable", "ManagedEtcd"},
	signal.InventoryVerified: {"True", "Verified"}, signal.WorkloadReady: {"True", "Ready"}, signal.SchedulingPossible: {"True", "Scheduled"},
}

func assessReadOnly(t *testing.T, l *live) {
	data, err := os.ReadFile("../../infra/kubernetes/assess-rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range splitYAML(data) {
		u := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &u.Object); err != nil {
			t.Fatal(err)
		}
		m, err := l.c.Mapper.RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.c.Dynamic.Resource(m.Resource).Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig, err := l.stack.KubeconfigFor("assess", "fallback-chain:assess")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := cluster.FromKubeconfig(kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	e, js := l.env(t, reader)
	r := l.run(run.Evaluate)
	a := l.assessed(t, e, r)
	if a.Phase != run.Assessed || a.KubernetesVersion == "" {
		t.Errorf("phase %s, version %q", a.Phase, a.KubernetesVersion)
	}
	wants(t, a.Signals, healthy)
	j, err := js.Open(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if es, err := j.Entries(t.Context()); err != nil || len(es) != 0 {
		t.Errorf("assess wrote %d journal entries (%v), expected none", len(es), err)
	}
	// The role really is read-only: the same client may change nothing, and read no Secret.
	err = reader.Dynamic.Resource(cluster.Pods).Namespace(sample.Namespace).Delete(t.Context(), sample.Pod(0), metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	if !apierrors.IsForbidden(err) {
		t.Errorf("deleting a pod: %v, expected forbidden", err)
	}
	if _, err := cluster.List[corev1.Secret](t.Context(), reader, cluster.Secrets, sample.Namespace, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing Secrets: %v, expected forbidden", err)
	}
}

func splitYAML(b []byte) [][]byte {
	var out [][]byte
	start := 0
	for i := 0; i+5 <= len(b); i++ {
		if string(b[i:i+5]) == "\n---\n" {
			out = append(out, b[start:i+1])
			start = i + 5
		}
	}
	return append(out, b[start:])
}

func nothingStuck(t *testing.T, l *live) {
	e, js := l.env(t, l.c)
	r := l.run(run.Recover)
	if sec := l.volumesync(t, e, r); sec.Phase != run.Succeeded || len(sec.Found)+len(sec.Done) != 0 {
		t.Errorf("%+v, expected Succeeded with nothing found", sec)
	}
	if sec := l.controlplane(t, e, r); sec.Phase != run.Succeeded || len(sec.Done) != 0 {
		t.Errorf("%+v, expected Succeeded with nothing done", sec)
	}
	j, err := js.Open(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if es, _ := j.Entries(t.Context()); len(es) != 0 {
		t.Errorf("%d changes were made, expected none: %+v", len(es), es)
	}
}

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
	wants(t, l.assessed(t, e, r).Signals, map[signal.Name][2]string{
		signal.CSIDriverHealthy: {"True", ""}, signal.PVCsBound: {"True", ""}, signal.VolumesAttached: {"False", "AttachError"}, signal.WorkloadReady: {"False", "NotReady"}})
	if sec := l.volumesync(t, e, r); sec.Phase != run.Succeeded || len(sec.Done) != 1 {
		t.Fatalf("%+v, expected Succeeded with one change", sec)
	}
	wants(t, l.assessed(t, e, r).Signals, healthy)
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
	if _, err := l.c.Dynamic.Resource(cluster.Nodes).Patch(t.Context(), node, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
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
	e, _ := l.env(t, l.c)
	r := l.run(run.Recover)
	wants(t, l.assessed(t, e, r).Signals, map[signal.Name][2]string{
		signal.CSIDriverHealthy: {"True", ""}, signal.PVCsBound: {"True", ""}, signal.VolumesAttached: {"False", "NodeGone"}})
	h := &volumesync.Handler{Env: e}
	sec, err := h.Handle(t.Context(), "start", "VolumeAttachmentSync", r)
	if err != nil {
		t.Fatal(err)
	}
	if len(sec.Done) != 2*len(there) {
		t.Fatalf("done %q, expected %d pods and as many attachments", sec.Done, len(there))
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
		next, err := h.Handle(t.Context(), "await", "AwaitVolumeAttachmentSync", r)
		if err != nil {
			t.Fatal(err)
		}
		r.VolumeSync = &next
	}
	if r.VolumeSync.Phase != run.Succeeded {
		t.Fatalf("%+v, expected Succeeded", r.VolumeSync)
	}
	wants(t, l.assessed(t, e, r).Signals, healthy)
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

// schedulingImpossible: a selector that no node has. The volume tier refuses it once it has persisted, and the control plane tier puts the template back.
func schedulingImpossible(t *testing.T, l *live) {
	patch := `{"spec":{"template":{"spec":{"nodeSelector":{"disk":"none-has-this"}}}}}`
	if _, err := l.c.Dynamic.Resource(cluster.StatefulSets).Namespace(sample.Namespace).Patch(t.Context(), sample.StatefulSet, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	e, _ := l.env(t, l.c)
	r := l.run(run.Recover)
	l.until(t, "SchedulingPossible False", []cluster.Source{{GVR: cluster.Pods, Namespace: sample.Namespace}}, func(context.Context) (bool, error) {
		return l.assessed(t, e, r).Signals[signal.SchedulingPossible].Status == signal.False, nil
	})
	wants(t, l.assessed(t, e, r).Signals, map[signal.Name][2]string{
		signal.SchedulingPossible: {"False", "SchedulingImpossible"}, signal.CSIDriverHealthy: {"True", ""}, signal.PVCsBound: {"True", ""}})
	_, err := (&volumesync.Handler{Env: e}).Handle(t.Context(), "start", "VolumeAttachmentSync", r)
	var f *fault.Fault
	if !errors.As(err, &f) || f.Code != fault.SchedulingImpossible {
		t.Fatalf("start says %v, expected SchedulingImpossible", err)
	}
	overwrite := &l.plan.Spec.Tiers.ControlPlaneReconcile.Overwrite
	*overwrite = false
	_, err = (&controlplane.Handler{Env: e}).Handle(t.Context(), "start", "ControlPlaneReconcile", r)
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
	wants(t, l.assessed(t, e, r).Signals, healthy)
}

// objectsDeleted: the StatefulSet, a Secret and the CSI controller's Deployment are gone; the claims are still there.
func objectsDeleted(t *testing.T, l *live) {
	l.delete(t, cluster.Deployments, stack.CSIControllerNamespace, stack.CSIController, metav1.DeleteOptions{})
	l.delete(t, cluster.StatefulSets, sample.Namespace, sample.StatefulSet, metav1.DeleteOptions{})
	l.delete(t, cluster.Secrets, sample.Namespace, sample.AppSecret, metav1.DeleteOptions{})
	l.noPods(t)
	e, _ := l.env(t, l.c)
	r := l.run(run.Recover)
	wants(t, l.assessed(t, e, r).Signals, map[signal.Name][2]string{
		signal.CSIDriverHealthy: {"False", "ControllerMissing"}, signal.PVCsBound: {"True", "Bound"}, signal.WorkloadReady: {"False", "ObjectsMissing"},
		signal.InventoryVerified: {"True", ""}})
	if sec := l.controlplane(t, e, r); sec.Phase != run.Succeeded || len(sec.Done) < 3 {
		t.Fatalf("%+v, expected Succeeded with three changes", sec)
	}
	wants(t, l.assessed(t, e, r).Signals, healthy)
}

func (l *live) noPods(t *testing.T) {
	t.Helper()
	l.until(t, "the pods are gone", []cluster.Source{{GVR: cluster.Pods, Namespace: sample.Namespace}}, func(ctx context.Context) (bool, error) {
		ps, err := sample.Pods(ctx, l.c, sample.Namespace)
		return err == nil && len(ps) == 0, err
	})
}

// everythingDeleted: StatefulSet, class and claims. One volume was kept (Retain), one claim has a live snapshot, one only the
// handle in the inventory.
func everythingDeleted(t *testing.T, l *live) {
	kept := l.volumeOf(t, sample.Claim(0))
	if _, err := l.c.Dynamic.Resource(cluster.PersistentVolumes).Patch(t.Context(), kept.Name, types.MergePatchType,
		[]byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
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
	wants(t, l.assessed(t, e, r).Signals, map[signal.Name][2]string{signal.PVCsBound: {"False", "ObjectsMissing"}, signal.WorkloadReady: {"False", "ObjectsMissing"}})
	if sec := l.controlplane(t, e, r); sec.Phase != run.Succeeded {
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
	wants(t, l.assessed(t, e, r).Signals, healthy)
}

// apiServerAway: while nobody answers the assessment waits, then it is Unreadable with every signal Unknown, and after the
// server is back it reads everything.
func apiServerAway(t *testing.T, l *live) {
	if err := l.stack.StopComponent(t.Context(), stack.APIServer); err != nil {
		t.Fatal(err)
	}
	e, _ := l.env(t, l.c)
	r := l.run(run.Evaluate)
	wait := l.plan.Spec.APIServerWait
	l.plan.Spec.APIServerWait = l.plan.Spec.Tiers.FailedSchedulingPersistence // seconds
	a := l.assessed(t, e, r)
	if a.Phase != run.Unreadable {
		t.Errorf("phase %s, expected Unreadable", a.Phase)
	}
	for n, s := range a.Signals {
		if s.Status != signal.Unknown {
			t.Errorf("%s is %s, expected Unknown", n, s.Status)
		}
	}
	l.plan.Spec.APIServerWait = wait
	back := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		back <- l.stack.StartComponent(ctx, stack.APIServer)
	}()
	if a := l.assessed(t, e, r); a.Phase != run.Assessed || a.Signals[signal.APIServerReady].Status != signal.True {
		t.Errorf("%+v, expected Assessed", a)
	}
	if err := <-back; err != nil {
		t.Fatal(err)
	}
}
