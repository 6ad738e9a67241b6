package runner

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/volume"
)

// recover is what the enabled tiers and the rollback change in place.
func (n *needs) recover() {
	s := n.p.Spec
	if s.Rollback.Snapshots.Source == plan.SnapshotsFresh {
		n.on(cluster.VolumeSnapshots, n.target, makes, undoes)
		if s.Rollback.Snapshots.Class == "" {
			n.on(cluster.VolumeSnapshotClasses, "", "list")
		}
	}
	if plan.TierEnabled(s.Tiers.VolumeAttachmentSync.Enabled) {
		n.on(cluster.VolumeAttachments, "", "get delete")
		n.on(cluster.Pods, n.target, "delete")
		n.on(cluster.PersistentVolumes, "", "get patch")
	}
	if n.reconciles() {
		n.reconcile()
	}
	if plan.TierEnabled(s.Tiers.DegradedStatefulSet.Enabled) {
		n.degrade()
	}
	// The rollback puts the data back whatever tier ran.
	n.on(cluster.PersistentVolumes, "", "get patch")
	n.named(cluster.StatefulSets, n.target, s.Workload.StatefulSet, "patch")
	n.on(cluster.PersistentVolumeClaims, n.target, makes, undoes)
	n.on(cluster.VolumeSnapshots, n.target, "watch")
	n.importing()
	n.pausing()
}

// importing brings a snapshot into the target namespace by its handle. Nudging one that stays (shared/undo) is wished: without it the
// run waits for the snapshot controller.
func (n *needs) importing() {
	n.on(cluster.VolumeSnapshotContents, "", makes, undoes)
	n.on(cluster.VolumeSnapshots, n.target, "list", makes, undoes)
	needed := n.list
	n.list = nil
	n.on(cluster.VolumeSnapshotContents, "", "patch")
	n.on(cluster.VolumeSnapshots, n.target, "patch")
	n.wished, n.list = append(n.wished, n.list...), needed
}

// reconcile is functions/controlplane: the inventory's objects, applied server-side (which needs patch, and create for what is
// missing), and their undoing.
func (n *needs) reconcile() {
	scope := change.Scope{Namespace: n.target}
	n.named(cluster.Namespaces, "", n.target, "get")
	if d := n.p.Spec.Volumes.Controller; d != nil {
		scope.Extra = []string{d.Namespace}
		n.named(cluster.Namespaces, "", d.Namespace, "get")
	}
	n.makesNamespace(n.target)
	for _, o := range n.objects {
		gvr, ok := n.resourceOf(o)
		if !ok || o.GetKind() == "Namespace" || o.GetKind() == "PersistentVolumeClaim" || o.GetKind() == "CustomResourceDefinition" ||
			scope.Allows(change.Ref{GVR: gvr, Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}, nil, nil) != nil {
			continue
		}
		n.on(gvr, o.GetNamespace(), makes, undoes)
		n.named(gvr, o.GetNamespace(), o.GetName(), "patch")
		if o.GetNamespace() == n.target {
			n.on(gvr, n.target, "list") // what is there besides is reported
		}
	}
	n.on(cluster.PersistentVolumes, "", "get patch")
	n.on(cluster.PersistentVolumeClaims, n.target, makes, undoes)
	n.on(cluster.Pods, n.target, "delete")
}

// makesNamespace: what is gone is made again, and removed by an undo.
func (n *needs) makesNamespace(name string) {
	n.on(cluster.Namespaces, "", "create watch")
	n.named(cluster.Namespaces, "", name, "get patch delete")
}

// degrade is functions/quarantine and functions/degraded in the workload's own namespace.
func (n *needs) degrade() {
	n.makesNamespace(n.target)
	n.isolate()
	n.on(cluster.PersistentVolumes, "", "get patch")
	n.named(cluster.StatefulSets, n.target, n.p.Spec.Workload.StatefulSet, "patch delete")
	n.on(cluster.StatefulSets, n.target, makes, undoes)
	n.on(cluster.Pods, n.target, "delete")
	for _, o := range n.objects {
		if gvr, ok := n.resourceOf(o); ok && o.GetNamespace() == n.target && slices.Contains(replicaKinds(), o.GetKind()) {
			n.on(gvr, n.target, makes, undoes)
		}
	}
}

// replicaKinds are what one replica needs to start (functions/degraded).
func replicaKinds() []string {
	return []string{"ServiceAccount", "Secret", "ConfigMap", "Service", "Role", "RoleBinding"}
}

// isolate is the quarantine of the target namespace.
func (n *needs) isolate() {
	n.on(cluster.NetworkPolicies, n.target, "list", makes, undoes)
	if n.p.Spec.Quarantine.Level == plan.LevelEnforced {
		n.on(cluster.Pods, n.target, "create delete")
	}
}

// pausing is the plan's patches of what would scale the workload back up.
func (n *needs) pausing() {
	for _, o := range n.p.Spec.Pause {
		gvk := schema.FromAPIVersionAndKind(o.APIVersion, o.Kind)
		m, err := n.c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			continue // the run says what that means
		}
		n.named(m.Resource, o.Namespace, o.Name, "get patch")
	}
}

// drill is what is restored into the drill's namespace and torn down, and what is read of production for the proof that it was
// left alone.
func (n *needs) drill() error {
	n.named(cluster.Namespaces, "", n.from, "get")
	n.makesNamespace(n.target)
	n.isolate()
	n.importing()
	n.on(cluster.PersistentVolumeClaims, n.target, makes, undoes)
	n.on(cluster.PersistentVolumes, "", "watch")
	n.on(cluster.Pods, n.target, "delete")
	for _, o := range n.objects {
		neutral, leftOut := restore.Neutralise(o, n.from, n.target)
		if leftOut != "" || o.GetKind() == "PersistentVolumeClaim" {
			continue
		}
		if gvr, ok := n.resourceOf(neutral); ok {
			n.on(gvr, n.target, makes, undoes)
			if n.reconciles() {
				n.named(gvr, n.target, neutral.GetName(), "patch")
				n.on(gvr, n.target, "list")
			}
		}
	}
	if plan.TierEnabled(n.p.Spec.Tiers.DegradedStatefulSet.Enabled) {
		n.on(cluster.HPAs, n.target, "list")
		n.named(cluster.StatefulSets, n.target, n.p.Spec.Workload.StatefulSet, "patch")
	}
	if err := n.classes(); err != nil {
		return err
	}
	all, err := production.Resources(n.ctx, n.c)
	if err != nil {
		return err
	}
	for _, gvr := range all {
		n.on(gvr, n.from, "list")
	}
	return nil
}

// classes: where a class keeps the volumes of its claims, the drill makes one of its own that does not.
func (n *needs) classes() error {
	known, err := cluster.List[storagev1.StorageClass](n.ctx, n.c, cluster.StorageClasses, "", metav1.ListOptions{})
	if err != nil {
		return nil //nolint:nilerr // that they cannot be listed is said with the other missing permissions
	}
	for _, c := range n.claims() {
		class, _ := volume.ClassOf(known, c)
		if class != nil && class.ReclaimPolicy != nil && *class.ReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
			n.on(cluster.StorageClasses, "", makes, undoes)
			return nil
		}
	}
	return nil
}

// claims are the inventory's, and the templates of its StatefulSets.
func (n *needs) claims() []*corev1.PersistentVolumeClaim {
	var out []*corev1.PersistentVolumeClaim
	for _, o := range n.objects {
		switch o.GetKind() {
		case "PersistentVolumeClaim":
			if c, err := cluster.Decode[corev1.PersistentVolumeClaim](o); err == nil {
				out = append(out, c)
			}
		case "StatefulSet":
			if s, err := cluster.Decode[appsv1.StatefulSet](o); err == nil {
				for i := range s.Spec.VolumeClaimTemplates {
					out = append(out, &s.Spec.VolumeClaimTemplates[i])
				}
			}
		}
	}
	return out
}

func (n *needs) resourceOf(o *unstructured.Unstructured) (schema.GroupVersionResource, bool) {
	gvk := o.GroupVersionKind()
	m, err := n.c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return schema.GroupVersionResource{}, false
	}
	return m.Resource, true
}
