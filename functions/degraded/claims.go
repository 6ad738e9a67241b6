package degraded

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/volume"
)

// ensureClaims makes the replica's missing claims, so that the StatefulSet's controller does not make them empty: from the volume
// that was kept, else from the newest snapshot. One that has neither refuses the tier: a replica without its data is no recovery.
// bundle may be nil.
func (w *work) ensureClaims(ctx context.Context, st *appsv1.StatefulSet, bundle *inventory.Bundle) error {
	one := st.DeepCopy()
	n := int32(1)
	one.Spec.Replicas = &n
	var missing []string
	for _, name := range volume.ClaimNames(one) {
		c := w.facts.Claim(name)
		switch {
		case c == nil:
			missing = append(missing, name)
		case c.DeletionTimestamp != nil:
			return fault.Newf(fault.ObjectsMissing, "use claim "+name, "it is being deleted")
		case c.Status.Phase == corev1.ClaimLost:
			return fault.Newf(fault.ObjectsMissing, "use claim "+name, "its volume %s is lost", c.Spec.VolumeName)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	live, err := snapshots.Newest(ctx, w.s.Cluster, w.s.Target(), nil, missing)
	if err != nil {
		return err
	}
	for _, name := range missing {
		like := volume.Template(one, name)
		if like == nil {
			return fault.Newf(fault.ObjectsMissing, "make claim "+name, "StatefulSet %s has no template of it", st.Name)
		}
		if err := w.claim(ctx, name, like, live, bundle); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) claim(ctx context.Context, name string, like *corev1.PersistentVolumeClaim, live map[string]run.Snapshot, bundle *inventory.Bundle) error {
	ns := w.s.Target()
	w.foundf("claim %s is missing", name)
	if pv := snapshots.Retained(w.facts, name); pv != nil {
		// Not undone: no claim had it, and the policy that it had would delete it again.
		if err := w.retainVolume(ctx, pv, journal.UndoNothing); err != nil {
			return err
		}
		if err := snapshots.Release(ctx, w.ch, pv, ns, name); err != nil {
			return err
		}
		// The volume's own class: the template's may not exist any more.
		like = like.DeepCopy()
		like.Spec.StorageClassName = &pv.Spec.StorageClassName
		u, err := snapshots.ClaimOnVolume(like, ns, name, pv.Name)
		if err != nil {
			return err
		}
		if _, err := w.ch.Create(ctx, u, "the claim is missing and its volume was kept"); err != nil {
			return err
		}
		w.didf("claim %s on its own volume %s", name, pv.Name)
		return nil
	}
	snap, ok, err := w.snapshot(ctx, name, live, bundle)
	if err != nil {
		return err
	}
	if !ok {
		return fault.Newf(fault.ObjectsMissing, "make claim "+name, "neither its volume nor a snapshot of it is left: an empty volume is no recovery")
	}
	if snap.Namespace != ns || snap.Name == "" {
		if snap, err = snapshots.Import(ctx, w.ch, snap, ns); err != nil {
			return err
		}
	}
	u, err := snapshots.Claim(like, ns, name, snap)
	if err != nil {
		return err
	}
	if _, err := w.ch.Create(ctx, u, "the claim is missing; its newest data is in this snapshot"); err != nil {
		return err
	}
	w.didf("claim %s from the snapshot of %s", name, snap.TakenAt.UTC().Format("2006-01-02 15:04:05Z"))
	return nil
}

// snapshot chooses the newest of: a live VolumeSnapshot, the rollback point's, the inventory's.
func (w *work) snapshot(ctx context.Context, claim string, live map[string]run.Snapshot, bundle *inventory.Bundle) (run.Snapshot, bool, error) {
	var all []run.Snapshot
	if s, ok := live[claim]; ok {
		all = append(all, s)
	}
	if w.s.Run.Mode != run.Drill {
		p, err := w.s.RollbackPoint(ctx)
		if err != nil {
			return run.Snapshot{}, false, err
		}
		for _, s := range p.Snapshots {
			if s.Claim == claim && s.Handle != "" && s.Driver != "" {
				all = append(all, s)
			}
		}
	}
	if bundle != nil {
		if s, ok := snapshots.OfBundle(bundle, claim); ok {
			all = append(all, s)
		}
	}
	var best run.Snapshot
	for _, s := range all {
		if best.Claim == "" || s.TakenAt.After(best.TakenAt) {
			best = s
		}
	}
	return best, best.Claim != "", nil
}
