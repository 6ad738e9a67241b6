package runner

import (
	"context"

	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/velero"
)

// veleroPlan is the plan's Velero; nil when its inventory is something else.
func (n *needs) veleroPlan() *plan.Velero {
	if n.p.Spec.Inventory == nil {
		return nil
	}
	return n.p.Spec.Inventory.Velero
}

// backedUp reads the objects of the newest backup of the workload's namespace, unverified: they only tell which kinds a run meets.
func (n *needs) backedUp(r *Runner) []*unstructured.Unstructured {
	ctx, cancel := context.WithTimeout(n.ctx, firstContact) // a place that does not answer is for the run to tell of
	defer cancel()
	store, err := r.env.Backups(ctx, n.p)
	if err != nil {
		return nil
	}
	list, _, err := backup.List(ctx, store)
	if err != nil {
		return nil
	}
	v, w := n.veleroPlan(), n.p.Spec.Workload
	for _, b := range list {
		if b.Phase != backup.PhaseCompleted || (v.Schedule != "" && b.Schedule != v.Schedule) || (v.RestorePoint.Backup != "" && b.Name != v.RestorePoint.Backup) {
			continue
		}
		parts, err := store.List(ctx, "backups/"+b.Name+"/")
		if err != nil {
			return nil
		}
		contents, err := backup.Read(ctx, store, b.Name, backup.Listing(b.Name, parts), w.Namespace)
		if err != nil {
			continue
		}
		if bundle, _ := contents.Bundle(w.Namespace, w.StatefulSet); bundle != nil {
			objects, _ := bundle.Objects(n.ctx)
			return objects
		}
	}
	return nil
}

var (
	priorityClasses = schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}
	resourceQuotas  = schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	cronJobs        = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}
)

// rehearse is what shared/rehearsal asks. It is wished, not needed: what it may not look at is a finding.
func (n *needs) rehearse(mode run.Mode) {
	v := n.veleroPlan()
	if v == nil || mode == run.Recover {
		return
	}
	needed := n.list
	n.list = nil
	for _, gvr := range []schema.GroupVersionResource{cluster.StorageClasses, cluster.VolumeSnapshotClasses, cluster.CSINodes, cluster.Nodes, priorityClasses} {
		n.on(gvr, "", "list")
	}
	n.on(cluster.CSIDrivers, "", "get")
	n.on(resourceQuotas, n.target, "list")
	for _, name := range []string{n.target, n.from, lease.Namespace} {
		n.named(cluster.Namespaces, "", name, "get")
	}
	n.named(velero.BackupStorageLocations, v.Namespace, v.StorageLocation, "get")
	n.on(velero.Backups, v.Namespace, "get")
	n.named(cluster.Deployments, v.Namespace, "velero", "get")
	for _, o := range n.objects {
		gvr, ok := n.resourceOf(o)
		switch {
		case !ok:
		case o.GetNamespace() == "":
			n.on(gvr, "", "create")
		default:
			n.on(gvr, n.target, "list")
			for _, ns := range []string{n.target, n.from, lease.Namespace} {
				n.on(gvr, ns, "create")
			}
		}
	}
	n.wished, n.list = n.list, needed
}

// velero is the restore of a drill by Velero, and its teardown.
func (n *needs) velero() {
	v := n.veleroPlan()
	if v == nil {
		return
	}
	n.named(velero.Backups, v.Namespace, "", "get")
	n.named(velero.BackupStorageLocations, v.Namespace, v.StorageLocation, "get")
	n.on(velero.Restores, v.Namespace, "get create watch patch delete")
	n.on(cluster.ConfigMaps, v.Namespace, "get list create watch delete")
	n.on(velero.DataDownloads, v.Namespace, "list watch")
	n.on(velero.PodVolumeRestores, v.Namespace, "list watch")
	// What Velero made is in no journal: it is listed and removed.
	for _, gvr := range []schema.GroupVersionResource{cluster.StatefulSets, cluster.Deployments, cronJobs, cluster.PersistentVolumeClaims, cluster.VolumeSnapshots} {
		n.on(gvr, n.target, strings.Fields("get list watch delete")...)
	}
	// What it made of these is read back, for it must do no harm.
	for _, gvr := range []schema.GroupVersionResource{cluster.Services, serviceAccounts} {
		n.on(gvr, n.target, "list")
	}
	n.on(cluster.VolumeSnapshotContents, "", "get list watch patch delete")
	n.on(cluster.PersistentVolumes, "", "get list patch")
}
