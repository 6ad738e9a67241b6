package runner

import (
	"context"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/step"
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
	// wished is what a run asks for and goes on without.
	wished []Access
}

// Verbs that belong together.
const (
	reads  = "get list watch"
	makes  = "get create"
	undoes = "watch delete" // undoing a creation deletes and waits until it is gone
)

// needed lists what a run in a mode needs, and what it asks for and goes on without, each sorted and once.
func (r *Runner) needed(ctx context.Context, c *cluster.Client, p *plan.Plan, in run.Run) (need, wished []Access, err error) {
	w := p.Spec.Workload
	n := &needs{ctx: ctx, c: c, p: p, from: w.Namespace, target: w.Namespace}
	if in.Mode == run.Drill {
		n.target = step.DrillNamespace(in.ID)
	}
	n.assess()
	_, err = c.Mapper.RESTMapping(schema.GroupKind{Group: snapshots.APIGroup, Kind: snapshots.Kind})
	n.snapshots = err == nil
	n.open(r, in)
	n.rehearse(in.Mode)
	switch in.Mode {
	case run.Evaluate:
	case run.Drill:
		n.common()
		if err := n.drill(); err != nil {
			return nil, nil, err
		}
		n.velero()
	default:
		n.common()
		n.recover()
	}
	return distinct(n.list), distinct(n.wished), nil
}

// distinct lists each need once; one that holds for every name stands for those of single names.
func distinct(list []Access) []Access {
	every := map[Access]bool{}
	for _, a := range list {
		every[a] = true
	}
	out := slices.DeleteFunc(slices.Clone(list), func(a Access) bool {
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
	if n.veleroPlan() != nil {
		n.objects = n.backedUp(r)
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
