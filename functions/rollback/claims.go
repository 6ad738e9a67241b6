package rollback

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/volume"
)

// source is a claim whose data is put back, and the VolumeSnapshot, in the claim's namespace, that it comes from.
type source struct {
	point    run.ClaimPoint
	snapshot run.Snapshot
}

// restored tells whether the claim is the one that was made from the snapshot.
func (t source) restored(c *corev1.PersistentVolumeClaim) bool {
	return c != nil && string(c.UID) != t.point.UID && c.Spec.DataSource != nil &&
		c.Spec.DataSource.Kind == snapshots.Kind && c.Spec.DataSource.Name == t.snapshot.Name
}

// sources are what changes while the rollback waits.
func (w *work) sources() []cluster.Source {
	gvrs := []schema.GroupVersionResource{cluster.StatefulSets, cluster.Pods, cluster.PersistentVolumeClaims}
	if len(w.point.Snapshots) > 0 { // only then is the snapshot API known to exist
		gvrs = append(gvrs, cluster.VolumeSnapshots)
	}
	var out []cluster.Source
	for _, gvr := range gvrs {
		out = append(out, cluster.Source{GVR: gvr, Namespace: w.s.Target()})
	}
	return out
}

// candidates are the claims that existed at the rollback point and have a snapshot in it; the others go to without. A claim that did
// not exist is none: what a tier made is undone from the journal.
func (w *work) candidates(f *volume.Facts) []source {
	w.without = nil
	var out []source
	for _, p := range w.point.Claims {
		if p.UID == "" {
			continue
		}
		t := source{point: p}
		for _, s := range w.point.Snapshots {
			if s.Claim == p.Name {
				t.snapshot = s
			}
		}
		if t.snapshot.Claim == "" {
			w.lacks(p, "the rollback point has no snapshot of it")
			continue
		}
		// An import by an earlier call may be gone again; the claim that was made of it tells.
		imported := t
		imported.snapshot.Name, imported.snapshot.Namespace = w.s.Run.ID+"-"+p.Name, w.s.Target()
		if imported.restored(f.Claim(p.Name)) {
			t = imported
		}
		out = append(out, t)
	}
	return out
}

func (w *work) lacks(p run.ClaimPoint, why string) {
	w.without = append(w.without, fmt.Sprintf("the data of claim %s/%s: %s", w.s.Target(), p.Name, why))
}

// usable checks that a claim can be made of the snapshot, before anything is stopped for it. A snapshot whose VolumeSnapshot is gone, or
// was in another namespace, is imported by its handle. why says why it cannot.
func (w *work) usable(ctx context.Context, t source) (_ source, why string, err error) {
	if t.snapshot.Name != "" && t.snapshot.Namespace == w.s.Target() {
		vs, err := cluster.Get[snapshots.VolumeSnapshot](ctx, w.s.Cluster, cluster.VolumeSnapshots, t.snapshot.Namespace, t.snapshot.Name)
		switch {
		case err == nil && snapshots.Usable(vs):
			return t, "", nil
		case err == nil:
			return t, fmt.Sprintf("snapshot %s is not ready any more", t.snapshot.Name), nil
		case !apierrors.IsNotFound(err):
			return t, "", cluster.Fault("read VolumeSnapshot "+t.snapshot.Namespace+"/"+t.snapshot.Name, err)
		}
	}
	if t.snapshot.Handle == "" || t.snapshot.Driver == "" {
		return t, fmt.Sprintf("snapshot %s is gone, and its handle is not known", t.snapshot.Name), nil
	}
	src := t.snapshot
	if src.Content != "" {
		// The content of a snapshot that is gone may be gone too; the handle is enough.
		_, err := cluster.Get[snapshots.VolumeSnapshotContent](ctx, w.s.Cluster, cluster.VolumeSnapshotContents, "", src.Content)
		switch {
		case apierrors.IsNotFound(err):
			src.Content = ""
		case err != nil:
			return t, "", cluster.Fault("read VolumeSnapshotContent "+src.Content, err)
		}
	}
	t.snapshot, err = snapshots.Import(ctx, w.changer, src, w.s.Target())
	return t, "", err
}

// replaced are the volumes of the claims whose data is put back. They are the evidence and keep the policy Retain, also one that a tier
// had given them.
func (w *work) replaced() []string {
	var out []string
	for _, t := range w.chosen {
		if t.point.Volume != "" {
			out = append(out, t.point.Volume)
		}
	}
	return out
}

// replace deletes the claim and, once it is gone, makes the one from the snapshot.
func (w *work) replace(ctx context.Context, f *volume.Facts, t source) error {
	have := f.Claim(t.point.Name)
	if have != nil { // a dry run ends here: its Delete says what follows
		w.doing = "waiting for claim " + have.Name + " to be gone"
		if have.DeletionTimestamp != nil {
			return nil
		}
		ref := change.Ref{GVR: cluster.PersistentVolumeClaims, Kind: "PersistentVolumeClaim", Namespace: have.Namespace, Name: have.Name, UID: have.UID}
		return w.changer.Delete(ctx, ref, change.DeleteOptions{Undo: journal.UndoNothing},
			fmt.Sprintf("a claim of its name is made from snapshot %s; volume %s is kept", t.snapshot.Name, have.Spec.VolumeName))
	}
	like, err := w.like(ctx, f, t.point)
	if err != nil {
		return err
	}
	claim, err := snapshots.Claim(like, w.s.Target(), t.point.Name, t.snapshot)
	if err != nil {
		return err
	}
	w.doing = "waiting for claim " + t.point.Name
	// Recreate, not Create: the claim belongs to the workload as the old one did, and is not removed again.
	_, err = w.changer.Recreate(ctx, claim, fmt.Sprintf("put back the data of snapshot %s, taken %s", t.snapshot.Name, t.snapshot.TakenAt.UTC().Format(time.RFC3339)))
	if fault.From(err) != nil && fault.From(err).Code == fault.OverwriteRefused {
		return nil // somebody was faster, perhaps an earlier call whose answer was lost: the next look tells which claim it is
	}
	return err
}

// like is what the new claim takes after: the old one, as it is or as the journal has it; else the StatefulSet's template.
func (w *work) like(ctx context.Context, f *volume.Facts, p run.ClaimPoint) (*corev1.PersistentVolumeClaim, error) {
	if c := f.Claim(p.Name); c != nil {
		return c, nil
	}
	c, err := w.beforeOf(ctx, p.Name)
	if err != nil || c != nil {
		return c, err
	}
	if t := volume.Template(f.StatefulSet, p.Name); t != nil {
		return t, nil
	}
	return nil, fault.Newf(fault.ObjectsMissing, "put back claim "+w.s.Target()+"/"+p.Name, "neither the claim nor a template of it is known")
}

// scaleBack returns the workload to its replicas, or keeps it at zero as the plan says, and waits until the claims are bound. A claim
// that waits for its first consumer is bound only by scaling back.
func (w *work) scaleBack(ctx context.Context) (bool, error) {
	if !w.data || w.gaveUp() {
		return true, nil
	}
	f, err := volume.Read(ctx, w.s.Cluster, w.s.Target(), w.s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return false, err
	}
	if f.StatefulSet != nil && w.point.Replicas != nil {
		want, why := *w.point.Replicas, "scale back"
		if !w.scalesBack() {
			want, why = 0, "the plan keeps the workload at zero after a rollback"
		}
		if err := w.scale(ctx, f, want, why); err != nil {
			return false, err
		}
	}
	if w.s.Run.DryRun {
		return true, nil
	}
	for _, t := range w.chosen {
		if !w.provable(f, t) {
			w.doing = "waiting for claim " + t.point.Name + " to be bound"
			return false, nil
		}
	}
	return true, nil
}

// provable tells whether the claim is as far as it can come: bound, or, with nobody to consume it, waiting for its first consumer.
func (w *work) provable(f *volume.Facts, t source) bool {
	c := f.Claim(t.point.Name)
	if !t.restored(c) {
		return false
	}
	if c.Status.Phase == corev1.ClaimBound {
		return true
	}
	class, _ := volume.ClassOf(f.Classes, c)
	return !w.consumed() && class != nil && volume.WaitsForConsumer(class)
}

// consumed tells whether pods will use the claims after the rollback.
func (w *work) consumed() bool {
	return w.scalesBack() && w.point.Replicas != nil && *w.point.Replicas > 0
}

// ready waits for the pods where they were ready before (the gate asked their databases). It decides nothing: the rollback has put
// back what it was to put back.
func (w *work) ready(ctx context.Context) (bool, error) {
	if !w.data || w.gaveUp() || !w.consumed() || w.s.Run.Gate.Phase != run.Refused {
		return true, nil
	}
	f, err := volume.ReadWorkload(ctx, w.s.Cluster, w.s.Target(), w.s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return false, err
	}
	waiting := f.Waiting()
	w.notReady = waiting
	if len(waiting) > 0 {
		w.doing = firstOf(waiting)
	}
	return len(waiting) == 0, nil
}
