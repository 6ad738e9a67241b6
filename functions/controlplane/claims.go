package controlplane

import (
	"context"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/volume"
)

// missingClaim is a claim that should exist and does not, with the best source of its data:
//
//  1. retained: the volume that was bound to it still exists (Released, or Available and reserved for it). Its policy is set to
//     Retain, its claimRef forgets the old claim's UID, and the claim is made for exactly this volume: nothing is lost.
//  2. snapshot: the newest ready VolumeSnapshot of the claim.
//  3. handle: the snapshot that the inventory recorded, brought back as a pre-provisioned VolumeSnapshotContent (Retain).
//  4. None: the StatefulSet makes an empty claim, and the application validation gate says what that is worth.
type missingClaim struct {
	name string
	// like is what the claim looks like: the inventory's claim, else the StatefulSet's template; nil when neither is known.
	like     *corev1.PersistentVolumeClaim
	retained *corev1.PersistentVolume
	snapshot *run.Snapshot
	handle   *run.Snapshot
}

// missingClaims finds the claims of the StatefulSet and of the inventory that do not exist, and reports those that exist and
// cannot be mended here.
func (w *work) missingClaims(ctx context.Context, kept []*unstructured.Unstructured) ([]missingClaim, error) {
	f, err := volume.Read(ctx, w.s.Cluster, w.s.Target(), w.s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return nil, err
	}
	template, byName, err := decodeClaims(kept, w.s.Target(), w.s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return nil, err
	}
	if f.StatefulSet != nil {
		template = f.StatefulSet
	}
	names := volume.ClaimNames(template)
	for n := range byName {
		if volume.IsClaimOf(n, f.Name) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	known := slices.Collect(maps.Keys(byName))
	for _, s := range w.bundle.Snapshots {
		known = append(known, s.Claim)
	}
	var absent, unmade []string
	for _, st := range f.ClaimStatuses(names, known, nil) {
		switch st.State {
		case volume.NotYetMade:
			unmade = append(unmade, st.Name)
			absent = append(absent, st.Name)
		case volume.Missing:
			absent = append(absent, st.Name)
		case volume.Lost, volume.Terminating:
			w.foundf("%s; only a person may decide about it", st)
		case volume.ClassMissing:
			if class, _ := volume.ClassOf(classesOf(kept), f.Claim(st.Name)); class == nil {
				w.foundf("%s, nor does the inventory hold one", st)
			} else {
				w.foundf("%s; the inventory holds it", st)
			}
		}
	}
	others, err := w.otherClaims(ctx, byName, names, f.Name)
	if err != nil || len(absent) == 0 {
		return others, err
	}
	live, err := snapshots.Newest(ctx, w.s.Cluster, w.s.Target(), nil, absent)
	if err != nil {
		return nil, err
	}
	out := make([]missingClaim, 0, len(absent))
	for _, n := range absent {
		c := missingClaim{name: n, like: like(n, template, byName), retained: retained(f, n)}
		if s, ok := live[n]; ok {
			c.snapshot = &s
		}
		if s, ok := snapshots.OfBundle(w.bundle, n); ok {
			c.handle = &s
		}
		if slices.Contains(unmade, n) && c.retained == nil && c.snapshot == nil && c.handle == nil {
			continue // nothing says that it ever existed
		}
		w.missing++
		w.foundf("missing: claim %s (%s)", n, c.source())
		out = append(out, c)
	}
	return append(out, others...), nil
}

// source says for people where the data comes from.
func (c missingClaim) source() string {
	switch {
	case c.like == nil:
		return "neither the inventory nor a template says what it looks like"
	case c.retained != nil:
		return "its volume " + c.retained.Name + " was kept"
	case c.snapshot != nil:
		return "from VolumeSnapshot " + c.snapshot.Name + " of " + c.snapshot.TakenAt.UTC().Format("2006-01-02 15:04:05Z")
	case c.handle != nil:
		return "from the inventory's snapshot " + c.handle.Handle + " of " + c.handle.TakenAt.UTC().Format("2006-01-02 15:04:05Z")
	}
	return "no volume and no snapshot of it is left; the StatefulSet makes an empty one and the gate judges it"
}

// retained is the volume that was bound to a claim and can be bound to it again; the newest when there are several.
func retained(f *volume.Facts, claim string) *corev1.PersistentVolume {
	var best *corev1.PersistentVolume
	for i := range f.Volumes {
		v := &f.Volumes[i]
		if v.Spec.ClaimRef.Name != claim || v.DeletionTimestamp != nil ||
			(v.Status.Phase != corev1.VolumeReleased && v.Status.Phase != corev1.VolumeAvailable) {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&v.CreationTimestamp) {
			best = v
		}
	}
	return best
}

// claim makes one claim from its source. A claim without one is left to the StatefulSet.
func (w *work) claim(ctx context.Context, c missingClaim) error {
	ns := w.s.Target()
	switch {
	case c.like == nil:
		return nil
	case c.retained != nil:
		return w.claimOnVolume(ctx, c)
	case c.snapshot != nil:
		return w.claimFromSnapshot(ctx, c, *c.snapshot)
	case c.handle != nil:
		s, err := snapshots.Import(ctx, w.ch, *c.handle, ns)
		if err != nil {
			return err
		}
		return w.claimFromSnapshot(ctx, c, s)
	}
	return nil
}

func (w *work) claimFromSnapshot(ctx context.Context, c missingClaim, s run.Snapshot) error {
	u, err := snapshots.Claim(c.like, w.s.Target(), c.name, s)
	if err != nil {
		return err
	}
	if _, err := w.ch.Create(ctx, u, "the claim is missing; its newest data is in snapshot "+s.Name); err != nil {
		return err
	}
	w.didf("created claim %s from snapshot %s of %s", c.name, s.Name, s.TakenAt.UTC().Format("2006-01-02 15:04:05Z"))
	return nil
}

func (w *work) claimOnVolume(ctx context.Context, c missingClaim) error {
	v := c.retained
	if v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		// Before anything else: under Delete the data is waiting for the driver's controller to come back and remove it.
		after, err := w.ch.Patch(ctx, change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: v.Name, UID: v.UID},
			types.MergePatchType, []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`), "",
			"keep the data of claim "+c.name+"; not undone, for the old policy would delete it", journal.UndoNothing)
		if err != nil {
			return err
		}
		if !w.ch.DryRun {
			if v, err = cluster.Decode[corev1.PersistentVolume](after); err != nil {
				return fault.New(fault.Internal, "decode PersistentVolume", err)
			}
		} else {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		}
	}
	if err := snapshots.Release(ctx, w.ch, v, w.s.Target(), c.name); err != nil {
		return err
	}
	u, err := snapshots.ClaimOnVolume(fitting(c.like, v), w.s.Target(), c.name, v.Name)
	if err != nil {
		return err
	}
	if _, err := w.ch.Create(ctx, u, "the claim is missing and its volume "+v.Name+" was kept"); err != nil {
		return err
	}
	w.didf("created claim %s on its own volume %s", c.name, v.Name)
	return nil
}

// fitting makes a claim that the volume satisfies: its class, mode and access modes, and at most its size
// (https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding).
func fitting(like *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) *corev1.PersistentVolumeClaim {
	c := like.DeepCopy()
	class := v.Spec.StorageClassName
	c.Spec.StorageClassName, c.Spec.VolumeMode, c.Spec.Selector = &class, v.Spec.VolumeMode, nil
	c.Spec.VolumeAttributesClassName = v.Spec.VolumeAttributesClassName
	for _, m := range c.Spec.AccessModes {
		if !slices.Contains(v.Spec.AccessModes, m) {
			c.Spec.AccessModes = slices.Clone(v.Spec.AccessModes)
			break
		}
	}
	have, ok := v.Spec.Capacity[corev1.ResourceStorage]
	want, asks := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if ok && (!asks || want.Cmp(have) > 0) {
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: have}
	}
	return c
}

// like is what a claim looks like: the inventory's own manifest, else the template with the labels that the StatefulSet
// controller gives (its selector's).
func like(name string, s *appsv1.StatefulSet, byName map[string]*corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	if c := byName[name]; c != nil {
		return c
	}
	t := volume.Template(s, name)
	if t == nil {
		return nil
	}
	c := t.DeepCopy()
	if s.Spec.Selector != nil {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		for k, v := range s.Spec.Selector.MatchLabels {
			c.Labels[k] = v
		}
	}
	return c
}
