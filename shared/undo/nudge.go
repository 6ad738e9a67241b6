package undo

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

// NudgedAt is the annotation that a nudge writes, with the time of it (RFC 3339). It goes with the object.
const NudgedAt = "fallbackchain.io/nudged-at"

// patience is how long a snapshot that nothing needs any more may stay before it is nudged.
const patience = 5 * time.Second

// isSnapshot tells whether the snapshot controllers decide when an object of the resource goes.
func isSnapshot(gvr schema.GroupVersionResource) bool {
	return gvr == cluster.VolumeSnapshots || gvr == cluster.VolumeSnapshotContents
}

// nudging waits for a snapshot, or its content, and nudges it once when it stays though nothing needs it.
//
// The snapshot controller lets go of a snapshot only while it looks at it. One that it found in use, because its cache still had a
// claim being made, it looks at again after a pause that doubles up to five minutes (cmd/snapshot-controller/main.go,
// retry-interval-max), or at its resync, after 15 (resync-period). An update of the object puts it into the queue at once, without
// the pause: the UpdateFunc of pkg/common-controller/snapshot_controller_base.go calls enqueueSnapshotWork, or
// enqueueContentWork, whatever was changed. The driver's csi-snapshotter, which lets go of a content, leaves out updates of status,
// finalizers and its own annotations; others count (pkg/utils/util.go, ShouldEnqueueContentChange). All in
// https://github.com/kubernetes-csi/external-snapshotter/tree/v8.6.0.
func (u *undoer) nudging(ctx context.Context, r change.Ref, wait func(context.Context) error) error {
	for {
		bounded, cancel := context.WithTimeout(ctx, u.patience())
		err := wait(bounded)
		cancel()
		if !errors.Is(err, errWaiting) || ctx.Err() != nil {
			return err
		}
		if done, err := u.nudge(ctx, r); err != nil {
			return err
		} else if done {
			return errWaiting
		}
	}
}

func (u *undoer) patience() time.Duration {
	if u.Patience > 0 {
		return u.Patience
	}
	return patience
}

// nudge annotates an object that is being deleted, has this run's label, ID in its name and UID, and is needed by nothing. done is
// false when its time has not come. That it may not be nudged, or could not, is no error, for the wait goes on.
func (u *undoer) nudge(ctx context.Context, r change.Ref) (done bool, err error) {
	have, err := u.resource(r).Get(ctx, r.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, u.harmless(r, cluster.Fault("read "+r.String(), err))
	case have.GetUID() != r.UID, have.GetLabels()[change.LabelRun] != u.Changer.Run, u.Changer.Run == "", !strings.Contains(r.Name, u.Changer.Run):
		return true, nil // it is not ours to touch
	case have.GetDeletionTimestamp() == nil:
		return false, nil
	}
	if w := u.uses(journal.Object{Kind: r.Kind, Resource: r.GVR.Resource, Namespace: r.Namespace, Name: r.Name}); w != nil {
		if free, err := u.unused(ctx, *w); err != nil || !free {
			return false, u.harmless(r, cluster.Fault("list the "+w.what, err))
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{NudgedAt: u.Changer.Now().UTC().Format(time.RFC3339Nano)}}})
	if err != nil {
		return true, fault.New(fault.Internal, "nudge "+r.String(), err)
	}
	_, err = u.Changer.Patch(ctx, r, types.MergePatchType, patch, "", "it is being deleted and nothing needs it: its controller is to look at it again", journal.UndoNothing)
	return true, u.harmless(r, err)
}

// harmless keeps the faults of a nudge from ending the undoing, but for those after which nothing may be changed. One that was refused is said
// in the result. One of class Retry needs nothing: after a conflict the controller has an update to look at anyway.
func (u *undoer) harmless(r change.Ref, err error) error {
	if err == nil {
		return nil
	}
	switch f := fault.From(err); {
	case f.Class() == fault.Dirty, f.Code == fault.LeasePreempted, f.Code == fault.Unauthorized:
		return err
	case f.Class() != fault.Retry && f.Code != fault.ObjectsMissing:
		u.refused[r.String()] = err.Error()
	}
	return nil
}
