package teardown

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/velero"
)

// restored is what Velero made for the drill: nothing of it is in the journal but the Restore itself.
type restored struct {
	s  *step.Session
	ch *change.Changer
	// namespace is Velero's, name that of the Restore.
	namespace, name string
	deadline        time.Time
}

// restoredOf is nil where Velero restores nothing.
func restoredOf(s *step.Session, ch *change.Changer, deadline *time.Time) *restored {
	if !s.RestoredByVelero() || deadline == nil {
		return nil
	}
	return &restored{s: s, ch: ch, namespace: s.Plan.Spec.Inventory.Velero.Namespace, name: velero.RestoreName(s.Run.ID), deadline: *deadline}
}

// remove takes away what Velero made, in the order in which nothing is lost and nothing is left: the contents of the backup's snapshots
// let go of them, the Restore goes (so that Velero makes nothing any more), then workloads, claims with their volumes, snapshots, and
// contents. It lists what it still waits for. slice bounds the waiting; without wait only what can be issued at once is.
func (r *restored) remove(ctx, slice context.Context, wait bool) (waits []string, err error) {
	if err := r.keepSnapshots(ctx); err != nil {
		return nil, err
	}
	if why, err := r.release(ctx, slice, wait); err != nil || why != "" {
		return list(why), err
	}
	// Whatever Velero made until its Restore was gone.
	if err := r.keepSnapshots(ctx); err != nil {
		return nil, err
	}
	if err := r.deleteRecords(ctx); err != nil {
		return nil, err
	}
	if mine, err := r.ownNamespace(ctx); err != nil || !mine {
		return nil, err
	}
	if err := r.dropVolumes(ctx); err != nil {
		return nil, err
	}
	if err := r.delete(ctx, everything, cluster.StatefulSets, cluster.Deployments, cronJobs, cluster.PersistentVolumeClaims); err != nil {
		return nil, err
	}
	if why, err := r.none(ctx, slice, wait, cluster.PersistentVolumeClaims); err != nil || why != "" {
		return list(why), err
	}
	// A snapshot goes after the claims that are made from it, its content after it: see users in shared/undo.
	if err := r.delete(ctx, r.ofRestore(), cluster.VolumeSnapshots); err != nil {
		return nil, err
	}
	if why, err := r.none(ctx, slice, wait, cluster.VolumeSnapshots); err != nil || why != "" {
		return list(why), err
	}
	return nil, r.deleteContents(ctx)
}

// ownNamespace tells whether the drill's namespace is gone, or this run's; nothing is taken from one that somebody else made under its
// name.
func (r *restored) ownNamespace(ctx context.Context) (bool, error) {
	ns, err := r.s.Cluster.Dynamic.Resource(cluster.Namespaces).Get(ctx, r.s.Target(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, cluster.Fault("read namespace "+r.s.Target(), err)
	}
	label := ns.GetLabels()[change.LabelRun]
	return label == r.s.Run.ID || (label == "" && r.ch.Scope.Remade), nil
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

var (
	cronJobs   = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}
	everything = metav1.ListOptions{}
)

func (r *restored) ofRestore() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: velero.LabelRestore + "=" + r.name}
}

// all lists a resource; none when the server has no such API, or no such namespace.
func (r *restored) all(ctx context.Context, gvr schema.GroupVersionResource, namespace string, o metav1.ListOptions) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	o.Limit = 500
	for {
		l, err := r.s.Cluster.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, o)
		if apierrors.IsNotFound(err) {
			return out, nil
		}
		if err != nil {
			return nil, cluster.Fault("list "+gvr.Resource, err)
		}
		out = append(out, l.Items...)
		if o.Continue = l.GetContinue(); o.Continue == "" {
			return out, nil
		}
	}
}

func refOf(gvr schema.GroupVersionResource, o *unstructured.Unstructured) change.Ref {
	return change.Ref{GVR: gvr, Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}
}

// contents are the VolumeSnapshotContents that Velero made for the Restore: each points to a snapshot of the backup.
func (r *restored) contents(ctx context.Context) ([]unstructured.Unstructured, error) {
	l, err := r.all(ctx, cluster.VolumeSnapshotContents, "", r.ofRestore())
	return slices.DeleteFunc(l, func(o unstructured.Unstructured) bool { return !r.ch.Scope.RestoredContent(&o) }), err
}

// keepSnapshots makes sure that nothing which is deleted later takes a snapshot of the backup with it, and reads it back.
func (r *restored) keepSnapshots(ctx context.Context) error {
	contents, err := r.contents(ctx)
	if err != nil {
		return err
	}
	for i := range contents {
		c := &contents[i]
		if policyOf(c) == "Retain" {
			continue
		}
		if _, err := r.ch.Patch(ctx, refOf(cluster.VolumeSnapshotContents, c), types.MergePatchType, []byte(change.KeepSnapshot), "",
			"the snapshot is the backup's and stays", journal.UndoNothing); err != nil {
			return err
		}
		if r.ch.DryRun {
			continue
		}
		back, err := r.s.Cluster.Dynamic.Resource(cluster.VolumeSnapshotContents).Get(ctx, c.GetName(), metav1.GetOptions{})
		if err != nil {
			return cluster.Fault("read VolumeSnapshotContent "+c.GetName(), err)
		}
		if policyOf(back) != "Retain" {
			return fault.Newf(fault.UndoIncomplete, "keep the snapshot of VolumeSnapshotContent "+c.GetName(), "its deletionPolicy reads %q after it was set to Retain", policyOf(back))
		}
	}
	return nil
}

func policyOf(o *unstructured.Unstructured) string {
	p, _, _ := unstructured.NestedString(o.Object, "spec", "deletionPolicy")
	return p
}

// dropVolumes lets the volumes that were made for the drill go with their claims, which Velero may have set to stay.
func (r *restored) dropVolumes(ctx context.Context) error {
	pvs, err := r.all(ctx, cluster.PersistentVolumes, "", everything)
	if err != nil {
		return err
	}
	for i := range pvs {
		policy, _, _ := unstructured.NestedString(pvs[i].Object, "spec", "persistentVolumeReclaimPolicy")
		if policy == "Delete" || !r.ch.Scope.OwnVolume(&pvs[i]) {
			continue
		}
		if _, err := r.ch.Patch(ctx, refOf(cluster.PersistentVolumes, &pvs[i]), types.MergePatchType, []byte(change.DropVolume), "",
			"the volume was made for a claim of this drill and goes with it", journal.UndoNothing); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes what there is of resources in the drill's namespace.
func (r *restored) delete(ctx context.Context, o metav1.ListOptions, resources ...schema.GroupVersionResource) error {
	for _, gvr := range resources {
		l, err := r.all(ctx, gvr, r.s.Target(), o)
		if err != nil {
			return err
		}
		for i := range l {
			if err := r.ch.Delete(ctx, refOf(gvr, &l[i]), change.DeleteOptions{Undo: journal.UndoNothing}, "Velero restored it into the drill's namespace"); err != nil {
				return err
			}
		}
	}
	return nil
}

// records are the notes that a Velero which died has left of the Restore in its namespace.
func (r *restored) records(ctx context.Context) ([]unstructured.Unstructured, error) {
	if r.ch.Scope.RestoreUID == "" {
		return nil, nil
	}
	l, err := r.all(ctx, cluster.ConfigMaps, r.namespace, metav1.ListOptions{LabelSelector: velero.LabelRestoreUID + "=" + r.ch.Scope.RestoreUID})
	return slices.DeleteFunc(l, func(o unstructured.Unstructured) bool { return !r.ch.Scope.RestoreRecord(&o) }), err
}

func (r *restored) deleteRecords(ctx context.Context) error {
	records, err := r.records(ctx)
	if err != nil {
		return err
	}
	for i := range records {
		if err := r.ch.Delete(ctx, refOf(cluster.ConfigMaps, &records[i]), change.DeleteOptions{Undo: journal.UndoNothing}, "Velero's note of the Restore, which is gone"); err != nil {
			return err
		}
	}
	return nil
}

func (r *restored) deleteContents(ctx context.Context) error {
	contents, err := r.contents(ctx)
	if err != nil {
		return err
	}
	for i := range contents {
		if err := r.ch.Delete(ctx, refOf(cluster.VolumeSnapshotContents, &contents[i]), change.DeleteOptions{Undo: journal.UndoNothing},
			"Velero made it for this drill; the snapshot stays"); err != nil {
			return err
		}
	}
	return nil
}

// none waits until the drill's namespace has none of a resource any more.
func (r *restored) none(ctx, slice context.Context, wait bool, gvr schema.GroupVersionResource) (why string, err error) {
	if r.ch.DryRun {
		return "", nil
	}
	var left []string
	look := func(ctx context.Context) (bool, error) {
		l, err := r.all(ctx, gvr, r.s.Target(), everything)
		left = nil
		for i := range l {
			left = append(left, l[i].GetKind()+" "+l[i].GetName())
		}
		return err == nil && len(left) == 0, err
	}
	ok, err := look(ctx)
	if err == nil && !ok && wait {
		ok, err = r.s.Cluster.WaitFor(slice, 0, []cluster.Source{{GVR: gvr, Namespace: r.s.Target()}}, look)
	}
	if err != nil || ok {
		return "", cluster.Fault("wait for the end of the "+gvr.Resource+" of "+r.s.Target(), err)
	}
	return fmt.Sprintf("%d %s of %s are being deleted: %s", len(left), gvr.Resource, r.s.Target(), strings.Join(run.Few(left, 3, listRunes), ", ")), nil
}
