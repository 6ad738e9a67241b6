package teardown

import (
	"context"
	"encoding/json"
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

// share is how much of the teardown's budget Velero gets to end a Restore that is in progress, and then again to delete it.
func (r *restored) share() time.Duration { return r.s.Plan.Spec.Drill.TeardownBudget.D() / 3 }

// idle is how long Velero gets to delete a Restore that it is not working on.
const idle = time.Minute

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

// release ends the Restore: one in progress is waited for, for its share of the budget; then it is deleted, which Velero does with the
// files of it in the bucket; and when Velero does not, as when it is down, its finalizer is taken off. That finalizer guards those
// files and nothing else (velero.Finalizer), and without the Restore a Velero that starts again restores nothing. why says what is
// waited for; empty: it is gone.
func (r *restored) release(ctx, slice context.Context, wait bool) (why string, err error) {
	have, err := r.restore(ctx)
	if err != nil || have == nil || have.Labels[change.LabelRun] != r.s.Run.ID {
		return "", err
	}
	phase := have.Status.Phase
	stuck := r.s.Run.Restore != nil && r.s.Run.Restore.Reason == string(fault.BudgetExceeded) // it had its time
	until := r.deadline.Add(-2 * r.share())
	if have.DeletionTimestamp == nil && phase.Begun() && !phase.Ended() && !stuck && r.s.Now().Before(until) {
		ended, err := r.watch(slice, until, wait, func(now *velero.Restore) bool { return now == nil || now.Status.Phase.Ended() })
		if err != nil {
			return "", err
		}
		if !ended && r.s.Now().Before(until) {
			return fmt.Sprintf("Restore %s/%s is %s", r.namespace, r.name, phase), nil
		}
	}
	ref := change.Ref{GVR: velero.Restores, Kind: "Restore", Namespace: r.namespace, Name: r.name, UID: have.UID}
	if err := r.ch.Delete(ctx, ref, change.DeleteOptions{Undo: journal.UndoNothing}, "this run made it: Velero is to restore nothing any more"); err != nil {
		return "", err
	}
	if r.ch.DryRun {
		return "", nil
	}
	until = r.s.Now()
	if have.DeletionTimestamp != nil {
		until = have.DeletionTimestamp.Time
	}
	patience := r.share()
	if !phase.Begun() || phase.Ended() {
		patience = min(patience, idle)
	}
	if until = until.Add(patience); until.After(r.deadline.Add(-r.share())) {
		until = r.deadline.Add(-r.share()) // the rest needs its time too
	}
	isGone := func(now *velero.Restore) bool { return now == nil || now.UID != have.UID }
	gone, err := r.watch(slice, until, wait, isGone)
	if err != nil || gone {
		return "", err
	}
	if r.s.Now().Before(until) {
		return fmt.Sprintf("Restore %s/%s (%s) is being deleted by Velero", r.namespace, r.name, phase), nil
	}
	if err := r.unfinalize(ctx, ref); err != nil {
		return "", err
	}
	if now, err := r.restore(ctx); err != nil || isGone(now) {
		return "", err
	}
	return fmt.Sprintf("Restore %s/%s is being deleted", r.namespace, r.name), nil
}

// unfinalize takes Velero's finalizer off, and no other.
func (r *restored) unfinalize(ctx context.Context, ref change.Ref) error {
	have, err := r.restore(ctx)
	if err != nil || have == nil || have.UID != ref.UID || !slices.Contains(have.Finalizers, velero.Finalizer) {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(have.Finalizers), func(f string) bool { return f == velero.Finalizer })
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": rest}})
	if err != nil {
		return fault.New(fault.Internal, "take the finalizer off "+ref.String(), err)
	}
	_, err = r.ch.Patch(ctx, ref, types.MergePatchType, patch, "", "Velero does not answer; the finalizer guards only the restore's own files in the bucket", journal.UndoNothing)
	if err != nil && fault.From(err).Code == fault.ObjectsMissing {
		return nil // Velero was faster
	}
	return err
}

// restore reads the Restore; nil when there is none.
func (r *restored) restore(ctx context.Context) (*velero.Restore, error) {
	have, err := cluster.Get[velero.Restore](ctx, r.s.Cluster, velero.Restores, r.namespace, r.name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, cluster.Fault("read Restore "+r.namespace+"/"+r.name, err)
	}
	return have, nil
}

// watch waits until the Restore is as it should be, the time is there, or slice is over.
func (r *restored) watch(slice context.Context, until time.Time, wait bool, done func(*velero.Restore) bool) (bool, error) {
	look := func(ctx context.Context) (bool, error) {
		have, err := r.restore(ctx)
		return err == nil && done(have), err
	}
	if ok, err := look(context.WithoutCancel(slice)); ok || err != nil || !wait {
		return ok, err
	}
	bounded, cancel := context.WithTimeout(slice, max(until.Sub(r.s.Now()), 0))
	defer cancel()
	ok, err := r.s.Cluster.WaitFor(bounded, 0, []cluster.Source{{GVR: velero.Restores, Namespace: r.namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + r.name}}}, look)
	return ok, cluster.Fault("wait for Restore "+r.namespace+"/"+r.name, err)
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
