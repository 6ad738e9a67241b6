package rollback

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/owners"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// work is one call's view of the rollback.
type work struct {
	s       *step.Session
	changer *change.Changer
	// data tells that the gate said no to the data.
	data  bool
	point run.RollbackPoint
	// failed is why the data could not be put back; halfway, that it was being put back by then: the workload is at zero and claims may
	// be missing, which the StatefulSet would make again empty.
	failed  *fault.Fault
	halfway bool
	// chosen are the claims whose data is, or can be, put back; without, those that had data and have no usable snapshot.
	chosen  []source
	without []string
	// doing is what the rollback waits for, in words; notReady, what keeps the pods from being ready after it.
	doing    string
	notReady []string
}

// newWork reads the rollback point where the data is to be put back from it.
func newWork(ctx context.Context, s *step.Session) (*work, error) {
	w := &work{s: s, changer: s.Changer(), data: dataIsBad(s.Run)}
	if w.data {
		var err error
		if w.point, err = s.RollbackPoint(ctx); err != nil {
			return nil, err
		}
	}
	// The plan's owners may live elsewhere (an Argo CD Application); the plan names them one by one.
	for _, p := range s.Plan.Spec.Pause {
		if p.Namespace != "" {
			w.changer.Scope.Extra = append(w.changer.Scope.Extra, p.Namespace)
		}
	}
	return w, nil
}

func (w *work) scalesBack() bool { return plan.TierEnabled(w.s.Plan.Spec.Rollback.ScaleBack) }

// putDataBack replaces the claims by claims from their snapshots. It returns true when all that can be replaced are; each call does what
// can be done now.
func (w *work) putDataBack(ctx context.Context) (bool, error) {
	if !w.data {
		return true, nil
	}
	f, err := volume.Read(ctx, w.s.Cluster, w.s.Target(), w.s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return false, err
	}
	w.chosen = nil
	var open []source
	for _, t := range w.candidates(f) {
		if !t.restored(f.Claim(t.point.Name)) {
			var why string
			if t, why, err = w.usable(ctx, t); err != nil {
				return false, err
			}
			if why != "" {
				w.lacks(t.point, why)
				continue
			}
			open = append(open, t)
		}
		w.chosen = append(w.chosen, t)
	}
	switch {
	case len(w.chosen) == 0:
		return false, fault.Newf(fault.ObjectsMissing, "put the data back", "no claim of the rollback point has a usable snapshot")
	case len(open) == 0:
		return true, nil
	}
	if stopped, err := w.stop(ctx, f, open); err != nil || !stopped {
		return false, err
	}
	for _, t := range open {
		if err := w.replace(ctx, f, t); err != nil {
			return false, err
		}
	}
	return w.s.Run.DryRun, nil
}

// stop makes sure that nothing is lost by what follows, scales the workload to zero and tells whether its pods are gone.
func (w *work) stop(ctx context.Context, f *volume.Facts, open []source) (bool, error) {
	if f.StatefulSet != nil {
		if err := owners.Check("scale StatefulSet "+f.Namespace+"/"+f.Name+" to zero", w.point.Owners, w.s.Plan.Spec.Pause); err != nil {
			return false, err
		}
		if err := w.pause(ctx); err != nil {
			return false, err
		}
	}
	for _, t := range open {
		if err := w.retainVolume(ctx, f, t); err != nil {
			return false, err
		}
	}
	if f.StatefulSet != nil {
		if err := w.retainClaims(ctx, f); err != nil {
			return false, err
		}
		if err := w.scale(ctx, f, 0, "nothing may write while the data is put back"); err != nil {
			return false, err
		}
	}
	w.halfway = true
	if len(f.Pods) > 0 && !w.s.Run.DryRun {
		w.doing = fmt.Sprintf("waiting for %d pods to end", len(f.Pods))
		return false, nil
	}
	return true, nil
}

// pause applies the plan's pause patches. Undoing puts back what was there.
func (w *work) pause(ctx context.Context) error {
	for _, p := range w.s.Plan.Spec.Pause {
		gvk := schema.FromAPIVersionAndKind(p.APIVersion, p.Kind)
		m, err := w.s.Cluster.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if meta.IsNoMatchError(err) {
			continue // the cluster does not know the kind: there is nobody to pause
		}
		if err != nil {
			return cluster.Fault(fmt.Sprintf("find the resource of %s, which the plan pauses", gvk), err)
		}
		ref := change.Ref{GVR: m.Resource, Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}
		_, err = w.changer.Patch(ctx, ref, types.MergePatchType, []byte(p.Patch), "", "pause what would scale the workload back up", journal.UndoRestore)
		if err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// gone tells that the object does not exist.
func gone(err error) bool { return fault.From(err).Code == fault.ObjectsMissing }

// retainVolume sets the claim's present volume to Retain and reads it back. It is not undone: the volume is the evidence.
func (w *work) retainVolume(ctx context.Context, f *volume.Facts, t source) error {
	c := f.Claim(t.point.Name)
	if c == nil || c.Spec.VolumeName == "" {
		return nil
	}
	op := "keep volume " + c.Spec.VolumeName
	v := f.Volume(c.Spec.VolumeName)
	if v == nil {
		return fault.Newf(fault.ObjectsMissing, op, "claim %s names it and it does not exist, or is another claim's", c.Name)
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
		return nil
	}
	ref := change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: v.Name, UID: v.UID}
	patch := []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`)
	if _, err := w.changer.Patch(ctx, ref, types.MergePatchType, patch, "", "the volume must outlive its claim", journal.UndoNothing); err != nil || w.s.Run.DryRun {
		return err
	}
	back, err := cluster.Get[corev1.PersistentVolume](ctx, w.s.Cluster, cluster.PersistentVolumes, "", v.Name)
	if err != nil {
		return cluster.Fault("read PersistentVolume "+v.Name, err)
	}
	if back.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		return fault.Newf(fault.Conflict, op, "its reclaim policy reads back as %s", back.Spec.PersistentVolumeReclaimPolicy)
	}
	return nil
}

// retainClaims sets the StatefulSet's persistentVolumeClaimRetentionPolicy to Retain and reads it back.
func (w *work) retainClaims(ctx context.Context, f *volume.Facts) error {
	p := f.StatefulSet.Spec.PersistentVolumeClaimRetentionPolicy
	if p == nil || (p.WhenDeleted == "Retain" && p.WhenScaled == "Retain") {
		return nil
	}
	back, err := w.patchSet(ctx, f, `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain","whenScaled":"Retain"}}}`,
		"the claims must outlive a scale-down", journal.UndoRestore)
	if err != nil || w.s.Run.DryRun {
		return err
	}
	if got := back.Spec.PersistentVolumeClaimRetentionPolicy; got == nil || got.WhenDeleted != "Retain" || got.WhenScaled != "Retain" {
		return fault.Newf(fault.Conflict, "keep the claims of StatefulSet "+f.Namespace+"/"+f.Name, "persistentVolumeClaimRetentionPolicy reads back as %+v", got)
	}
	return nil
}

// scale sets the replicas, unless they are so, and reads them back. It is its own compensation: the rollback ends by scaling back.
func (w *work) scale(ctx context.Context, f *volume.Facts, to int32, why string) error {
	if volume.Replicas(f.StatefulSet) == to {
		return nil
	}
	back, err := w.patchSet(ctx, f, fmt.Sprintf(`{"spec":{"replicas":%d}}`, to), why, journal.UndoNothing)
	if err != nil || w.s.Run.DryRun {
		return err
	}
	if got := volume.Replicas(back); got != to {
		return fault.Newf(fault.Conflict, "scale StatefulSet "+f.Namespace+"/"+f.Name, "its replicas read back as %d, expected %d: something scales it", got, to)
	}
	return nil
}

func (w *work) patchSet(ctx context.Context, f *volume.Facts, patch, why string, undo journal.Undo) (*appsv1.StatefulSet, error) {
	ref := change.Ref{GVR: cluster.StatefulSets, Kind: "StatefulSet", Namespace: f.Namespace, Name: f.Name, UID: f.StatefulSet.UID}
	if _, err := w.changer.Patch(ctx, ref, types.MergePatchType, []byte(patch), "", why, undo); err != nil {
		return nil, err
	}
	back, err := cluster.Get[appsv1.StatefulSet](ctx, w.s.Cluster, cluster.StatefulSets, f.Namespace, f.Name)
	return back, cluster.Fault("read StatefulSet "+f.Namespace+"/"+f.Name, err)
}

// beforeOf is the image of a claim that this run deleted.
func (w *work) beforeOf(ctx context.Context, claim string) (*corev1.PersistentVolumeClaim, error) {
	entries, err := w.s.Journal.Entries(ctx)
	if err != nil {
		return nil, fault.New(fault.JournalUnwritable, "read the journal", err)
	}
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		if e.Verb != journal.Delete || e.Object.Kind != "PersistentVolumeClaim" || e.Object.Namespace != w.s.Target() || e.Object.Name != claim {
			continue
		}
		var c corev1.PersistentVolumeClaim
		if err := json.Unmarshal(e.Before, &c); err != nil {
			return nil, fault.New(fault.UndoIncomplete, "read the before-image of claim "+claim, err)
		}
		return &c, nil
	}
	return nil, nil
}
