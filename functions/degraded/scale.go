package degraded

import (
	"context"
	"encoding/json"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/owners"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/volume"
)

// scaleDown brings an existing StatefulSet to one relaxed replica.
func (w *work) scaleDown(ctx context.Context) error {
	st := w.facts.StatefulSet
	op := "scale StatefulSet " + st.Namespace + "/" + st.Name + " to one replica"
	if st.DeletionTimestamp != nil {
		return fault.Newf(fault.ObjectsMissing, op, "it is being deleted")
	}
	if st.Spec.Template.Spec.HostNetwork {
		return fault.Newf(fault.IsolationBroken, op, "its pods use their nodes' network, which no NetworkPolicy holds")
	}
	if err := w.pause(ctx, op); err != nil {
		return err
	}
	if err := w.retain(ctx); err != nil {
		return err
	}
	if err := w.ensureClaims(ctx, st, nil); err != nil {
		return err
	}
	if err := w.patch(ctx); err != nil {
		return err
	}
	return w.clearPods(ctx)
}

// pause refuses to go on while something would scale the StatefulSet back, and pauses what the plan says how to pause.
func (w *work) pause(ctx context.Context, op string) error {
	hpas, err := cluster.List[autoscalingv2.HorizontalPodAutoscaler](ctx, w.s.Cluster, cluster.HPAs, w.s.Target(), metav1.ListOptions{})
	if err != nil {
		return cluster.Fault("list HorizontalPodAutoscalers in "+w.s.Target(), err)
	}
	found := owners.Of(w.facts.StatefulSet, hpas)
	if err := owners.Check(op, found, w.s.Plan.Spec.Pause); err != nil {
		return err
	}
	if w.s.Run.Mode == run.Drill {
		return nil // what is paused is production's; a drill's StatefulSet has no owner
	}
	for _, o := range found {
		kind, name, _ := strings.Cut(o, "/")
		for _, p := range w.s.Plan.Spec.Pause {
			if p.Kind != kind || p.Name != name {
				continue
			}
			gvk := schema.FromAPIVersionAndKind(p.APIVersion, p.Kind)
			m, err := w.s.Cluster.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
			if err != nil {
				return fault.Newf(fault.OwnerNotPaused, op, "spec.pause: %s %s is not a kind of this cluster: %v", p.APIVersion, p.Kind, err)
			}
			ref := change.Ref{GVR: m.Resource, Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}
			if _, err := w.ch.Patch(ctx, ref, types.MergePatchType, []byte(p.Patch), "", "pause what would scale the StatefulSet back", journal.UndoRestore); err != nil {
				return err
			}
			w.didf("paused %s", o)
		}
	}
	return nil
}

// retain makes sure that neither scaling nor deleting loses a volume, and reads it back. In a drill the volumes are copies, and the
// scope keeps PersistentVolumes out of reach.
func (w *work) retain(ctx context.Context) error {
	if w.s.Run.Mode == run.Drill {
		return nil
	}
	for _, c := range w.facts.Claims {
		pv := w.facts.Volume(c.Spec.VolumeName)
		if c.Spec.VolumeName == "" || pv == nil {
			continue
		}
		if err := w.retainVolume(ctx, pv, journal.UndoRestore); err != nil {
			return err
		}
	}
	st := w.facts.StatefulSet
	if p := st.Spec.PersistentVolumeClaimRetentionPolicy; p == nil ||
		(p.WhenDeleted != appsv1.DeletePersistentVolumeClaimRetentionPolicyType && p.WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType) {
		return nil
	}
	patch := []byte(`{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain","whenScaled":"Retain"}}}`)
	if _, err := w.ch.Patch(ctx, w.ref(), types.MergePatchType, patch, "", "keep the claims when the StatefulSet is scaled or deleted", journal.UndoRestore); err != nil {
		return err
	}
	if w.ch.DryRun {
		return nil
	}
	back, err := cluster.Get[appsv1.StatefulSet](ctx, w.s.Cluster, cluster.StatefulSets, st.Namespace, st.Name)
	if err != nil {
		return cluster.Fault("read StatefulSet "+st.Name+" back", err)
	}
	if p := back.Spec.PersistentVolumeClaimRetentionPolicy; p == nil || p.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType ||
		p.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		return fault.Newf(fault.NotQualified, "keep the claims of StatefulSet "+st.Name, "persistentVolumeClaimRetentionPolicy did not become Retain")
	}
	w.didf("StatefulSet %s keeps its claims", st.Name)
	return nil
}

// retainVolume sets a volume to Retain and reads it back.
func (w *work) retainVolume(ctx context.Context, pv *corev1.PersistentVolume, undo journal.Undo) error {
	if pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
		return nil
	}
	ref := change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: pv.Name, UID: pv.UID}
	if _, err := w.ch.Patch(ctx, ref, types.MergePatchType, []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`), "",
		"keep the data whatever becomes of the claim", undo); err != nil {
		return err
	}
	if !w.ch.DryRun {
		back, err := cluster.Get[corev1.PersistentVolume](ctx, w.s.Cluster, cluster.PersistentVolumes, "", pv.Name)
		if err != nil {
			return cluster.Fault("read PersistentVolume "+pv.Name+" back", err)
		}
		if back.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			return fault.Newf(fault.NotQualified, "keep PersistentVolume "+pv.Name, "its reclaim policy is still %s", back.Spec.PersistentVolumeReclaimPolicy)
		}
	}
	pv.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	w.didf("PersistentVolume %s is kept (Retain)", pv.Name)
	return nil
}

func (w *work) ref() change.Ref {
	st := w.facts.StatefulSet
	return change.Ref{GVR: cluster.StatefulSets, Kind: "StatefulSet", Namespace: st.Namespace, Name: st.Name, UID: st.UID}
}

// patch sets one replica and the relaxed template in one change.
func (w *work) patch(ctx context.Context) error {
	st := w.facts.StatefulSet
	raw, err := w.s.Cluster.Dynamic.Resource(cluster.StatefulSets).Namespace(st.Namespace).Get(ctx, st.Name, metav1.GetOptions{})
	if err != nil {
		return cluster.Fault("read StatefulSet "+st.Name, err)
	}
	have, _, err := unstructured.NestedMap(raw.Object, "spec", "template", "spec")
	if err != nil {
		return fault.New(fault.Internal, "read the template of StatefulSet "+st.Name, err)
	}
	want, given, err := Relax(have, w.s.Plan.Spec.Tiers.DegradedStatefulSet.Relax)
	if err != nil {
		return fault.New(fault.PlanInvalid, "relax StatefulSet "+st.Name, err)
	}
	spec := map[string]any{"replicas": int64(1)}
	if diff := mergeDiff(have, want); len(diff) > 0 {
		spec["template"] = map[string]any{"spec": diff}
	}
	// A partition above the replica would keep it at the old template
	// (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#partitions).
	if u := st.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil && *u.Partition > 0 {
		spec["updateStrategy"] = map[string]any{"rollingUpdate": map[string]any{"partition": int64(0)}}
	}
	b, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return fault.New(fault.Internal, "encode the patch of StatefulSet "+st.Name, err)
	}
	if _, err := w.ch.Patch(ctx, w.ref(), types.MergePatchType, b, "", "one replica in quarantine, relaxed as the plan says", journal.UndoRestore); err != nil {
		return err
	}
	if n := volume.Replicas(st); n != 1 {
		w.didf("StatefulSet %s: %d replicas to 1", st.Name, n)
	}
	if len(given) > 0 {
		w.didf("gave up %s", strings.Join(given, ", "))
	}
	return nil
}

// mergeDiff is the JSON merge patch (RFC 7386) of the top-level fields that differ.
func mergeDiff(have, want map[string]any) map[string]any {
	out := map[string]any{}
	for k := range have {
		if _, ok := want[k]; !ok {
			out[k] = nil
		}
	}
	for k, v := range want {
		if a, _ := json.Marshal(have[k]); string(a) != must(v) {
			out[k] = v
		}
	}
	return out
}

func must(v any) string {
	b, _ := json.Marshal(v) // what was decoded from JSON encodes again
	return string(b)
}

// clearPods deletes the pods that the controller would wait for: it neither updates nor scales down past a pod that is not ready
// (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback). The replica's own pod goes when it
// is not ready; the controller makes it again from the new template. A pod is forced only when its node is proven down.
func (w *work) clearPods(ctx context.Context) error {
	st := w.facts.StatefulSet
	first := firstPod(st.Name, st)
	for i := range w.facts.Pods {
		p := &w.facts.Pods[i]
		gone := p.Spec.NodeName != "" && nodeGone(w.facts, p.Spec.NodeName)
		switch {
		case p.Name == first && volume.PodReady(p) && !gone:
			continue
		case p.DeletionTimestamp != nil && !gone:
			continue
		}
		ref := change.Ref{GVR: cluster.Pods, Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		o := change.DeleteOptions{Force: gone, Undo: journal.UndoNothing}
		if err := w.ch.Delete(ctx, ref, o, "the StatefulSet's controller waits for it; it is made again where it is wanted"); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		w.didf("deleted pod %s%s", p.Name, map[bool]string{true: " (its node is gone)"}[gone])
	}
	return nil
}

// nodeGone: the node does not exist any more, or a person or controller that made sure of it has tainted it as out of service
// (https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown).
func nodeGone(f *volume.Facts, name string) bool {
	n := f.Node(name)
	return n == nil || (!volume.NodeReady(n) && volume.OutOfService(n))
}
