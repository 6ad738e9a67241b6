package runner

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// needs gathers what a run may come to ask of the API server: on whatever path it takes, with the tiers that the plan enables.
type needs struct {
	ctx  context.Context
	c    *cluster.Client
	p    *plan.Plan
	list []Access
	// target is the namespace that the steps work on, from the workload's own.
	target, from string
	// objects are those of the inventory; none when it cannot be opened (the run then says what that means).
	objects []*unstructured.Unstructured
	// snapshots tells that the cluster serves the snapshot API.
	snapshots bool
}

// Verbs that belong together.
const (
	reads  = "get list watch"
	makes  = "get create"
	undoes = "watch delete" // undoing a creation deletes and waits until it is gone
)

// needed lists what a run in a mode needs, sorted, each once.
func (r *Runner) needed(ctx context.Context, c *cluster.Client, p *plan.Plan, in run.Run) ([]Access, error) {
	w := p.Spec.Workload
	n := &needs{ctx: ctx, c: c, p: p, from: w.Namespace, target: w.Namespace}
	if in.Mode == run.Drill {
		n.target = step.DrillNamespace(in.ID)
	}
	n.assess()
	if in.Mode == run.Evaluate {
		return n.distinct(), nil
	}
	_, err := c.Mapper.RESTMapping(schema.GroupKind{Group: snapshots.APIGroup, Kind: snapshots.Kind})
	n.snapshots = err == nil
	n.open(r, in)
	n.common()
	if in.Mode == run.Drill {
		if err := n.drill(); err != nil {
			return nil, err
		}
		return n.distinct(), nil
	}
	n.recover()
	return n.distinct(), nil
}

// distinct lists each need once; one that holds for every name stands for those of single names.
func (n *needs) distinct() []Access {
	every := map[Access]bool{}
	for _, a := range n.list {
		every[a] = true
	}
	out := slices.DeleteFunc(slices.Clone(n.list), func(a Access) bool {
		named := a.Name != ""
		a.Name = ""
		return named && every[a]
	})
	slices.SortFunc(out, compareAccess)
	return slices.Compact(out)
}

func compareAccess(a, b Access) int {
	return strings.Compare(strings.Join([]string{a.Namespace, a.Path, a.Group, a.Resource, a.Subresource, a.Name, a.Verb}, "\x00"),
		strings.Join([]string{b.Namespace, b.Path, b.Group, b.Resource, b.Subresource, b.Name, b.Verb}, "\x00"))
}

// open reads the inventory's objects.
func (n *needs) open(r *Runner, in run.Run) {
	if n.p.Spec.Inventory == nil {
		return
	}
	b, err := r.env.Inventory(n.ctx, in.Plan, n.p)
	if err != nil {
		return
	}
	defer b.Close()
	n.objects, _ = b.Objects(n.ctx)
}

// on adds verbs on a resource in a namespace ("" for cluster-scoped).
func (n *needs) on(gvr schema.GroupVersionResource, namespace string, verbs ...string) {
	n.named(gvr, namespace, "", verbs...)
}

// named adds verbs on one object. Only get, update, patch and delete of a role can name it
// (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources).
func (n *needs) named(gvr schema.GroupVersionResource, namespace, name string, verbs ...string) {
	if gvr.Group == snapshots.APIGroup && !n.snapshots {
		return
	}
	for _, group := range verbs {
		for v := range strings.FieldsSeq(group) {
			a := Access{Verb: v, Group: gvr.Group, Resource: gvr.Resource, Namespace: namespace, Name: name}
			if v == "create" || v == "list" || v == "watch" {
				a.Name = ""
			}
			n.list = append(n.list, a)
		}
	}
}

// assess is what functions/assess reads. infra/kubernetes/assess-rbac.yaml grants it.
func (n *needs) assess() {
	n.list = append(n.list, Access{Verb: "get", Path: "/readyz"}, Access{Verb: "get", Path: "/version"})
	if n.p.Spec.Inventory != nil {
		n.named(cluster.Namespaces, "", metav1.NamespaceSystem, "get")
	}
	n.named(cluster.StatefulSets, n.target, n.p.Spec.Workload.StatefulSet, "get")
	n.on(cluster.Pods, n.target, "list")
	n.on(cluster.PersistentVolumeClaims, n.target, "list")
	n.on(cluster.Events, n.target, "list")
	for _, gvr := range []schema.GroupVersionResource{cluster.PersistentVolumes, cluster.VolumeAttachments, cluster.Nodes, cluster.CSIDrivers,
		cluster.StorageClasses, cluster.CSINodes} {
		n.on(gvr, "", "list")
	}
	if d := n.p.Spec.Volumes.Controller; d != nil {
		n.named(cluster.Deployments, d.Namespace, d.Name, "get")
	}
}

// common is what recover and drill share: the lease, the rollback point, the waits, the gate.
func (n *needs) common() {
	w := n.p.Spec.Workload
	name := lease.Name(w.Namespace, w.StatefulSet)
	n.named(cluster.Leases, lease.Namespace, name, "get update")
	n.on(cluster.Leases, lease.Namespace, "create watch")
	n.named(cluster.Namespaces, "", lease.Namespace, "get")
	if _, err := n.c.Dynamic.Resource(cluster.Namespaces).Get(n.ctx, lease.Namespace, metav1.GetOptions{}); err != nil {
		n.on(cluster.Namespaces, "", "create") // it is not there, or cannot be seen
	}

	n.named(cluster.StatefulSets, n.from, w.StatefulSet, "get")
	n.on(cluster.Pods, n.from, "list")
	n.on(cluster.PersistentVolumeClaims, n.from, "list")
	n.on(cluster.HPAs, n.from, "list")
	n.on(cluster.VolumeSnapshots, n.from, "list")
	n.on(cluster.VolumeSnapshotContents, "", "get list")

	n.on(cluster.Pods, n.target, "watch")
	n.on(cluster.StatefulSets, n.target, "watch")
	n.on(cluster.PersistentVolumeClaims, n.target, "watch")
	n.on(cluster.Events, n.target, "watch")
	n.on(cluster.VolumeAttachments, "", "watch")
	if d := n.p.Spec.Volumes.Controller; d != nil && n.reconciles() {
		n.on(cluster.Deployments, d.Namespace, "watch")
	}

	n.on(cluster.Pods, n.target, "get")
	if s := w.Database.Credentials.Secret; s != nil {
		n.named(cluster.Secrets, n.target, s.Name, "get")
	}
	// The websocket needs both, see shared/cluster.DialPod.
	for _, v := range []string{"get", "create"} {
		n.list = append(n.list, Access{Verb: v, Resource: "pods", Subresource: "portforward", Namespace: n.target})
	}
}

func (n *needs) reconciles() bool {
	return n.p.Spec.Inventory != nil && plan.TierEnabled(n.p.Spec.Tiers.ControlPlaneReconcile.Enabled)
}

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

// importing brings a snapshot into the target namespace by its handle.
func (n *needs) importing() {
	n.on(cluster.VolumeSnapshotContents, "", makes, undoes)
	n.on(cluster.VolumeSnapshots, n.target, makes, undoes)
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
	all, err := production.Resources(n.c)
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
