package teardown

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/velero"
)

// share is how much of the teardown's budget Velero gets to end a Restore that is in progress, and then again to delete it.
func (r *restored) share() time.Duration { return r.s.Plan.Spec.Drill.TeardownBudget.D() / 3 }

// idle is how long Velero gets to delete a Restore that it is not working on.
const idle = time.Minute

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
