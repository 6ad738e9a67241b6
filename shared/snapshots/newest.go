// Package snapshots finds the volume snapshots that a claim can be restored from, brings one into another namespace without
// touching where it came from, and makes claims of them.
package snapshots

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/run"
)

// Newest finds the newest ready VolumeSnapshot of each claim in a namespace, by claim name. selector are labels that the
// snapshots must have (none: every ready one), claims the names of interest (none: all). A claim without a usable snapshot
// is not in the answer. A cluster without the snapshot API has none.
func Newest(ctx context.Context, c *cluster.Client, namespace string, selector map[string]string, claims []string) (map[string]run.Snapshot, error) {
	list, err := cluster.List[VolumeSnapshot](ctx, c, cluster.VolumeSnapshots, namespace, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(selector).String()})
	if apierrors.IsNotFound(err) {
		return map[string]run.Snapshot{}, nil
	}
	if err != nil {
		return nil, cluster.Fault("list VolumeSnapshots in "+namespace, err)
	}
	// Newest first, so that contents are read of the winners only.
	slices.SortStableFunc(list, func(a, b VolumeSnapshot) int { return taken(b).Compare(taken(a)) })
	out := map[string]run.Snapshot{}
	for _, vs := range list {
		claim := vs.Spec.Source.PersistentVolumeClaimName
		if claim == nil || (len(claims) > 0 && !slices.Contains(claims, *claim)) || !Usable(&vs) {
			continue
		}
		if _, have := out[*claim]; have {
			continue
		}
		s, ok, err := Describe(ctx, c, &vs)
		if err != nil {
			return nil, err
		}
		if ok {
			s.Claim = *claim
			out[*claim] = s
		}
	}
	return out, nil
}

// Usable tells whether a volume can be made from the snapshot now.
func Usable(vs *VolumeSnapshot) bool {
	return vs.DeletionTimestamp == nil && vs.Status.ReadyToUse != nil && *vs.Status.ReadyToUse && vs.Status.BoundVolumeSnapshotContentName != nil
}

// taken is when the storage system took the snapshot; the object's own time where the driver does not say.
func taken(vs VolumeSnapshot) time.Time {
	if vs.Status.CreationTime != nil {
		return vs.Status.CreationTime.UTC()
	}
	return vs.CreationTimestamp.UTC()
}

// Describe reads what a usable VolumeSnapshot is bound to: handle, driver, size, time. ok is false when there is no content, or it
// names no handle: nothing can be restored from it.
func Describe(ctx context.Context, c *cluster.Client, vs *VolumeSnapshot) (s run.Snapshot, ok bool, err error) {
	if vs.Status.BoundVolumeSnapshotContentName == nil {
		return s, false, nil
	}
	name := *vs.Status.BoundVolumeSnapshotContentName
	content, err := cluster.Get[VolumeSnapshotContent](ctx, c, cluster.VolumeSnapshotContents, "", name)
	if apierrors.IsNotFound(err) {
		return s, false, nil
	}
	if err != nil {
		return s, false, cluster.Fault("read VolumeSnapshotContent "+name, err)
	}
	if content.DeletionTimestamp != nil || content.Status.SnapshotHandle == nil || *content.Status.SnapshotHandle == "" {
		return s, false, nil
	}
	s = run.Snapshot{Name: vs.Name, Namespace: vs.Namespace, Content: name, Handle: *content.Status.SnapshotHandle,
		Driver: content.Spec.Driver, TakenAt: taken(*vs)}
	if p := vs.Spec.Source.PersistentVolumeClaimName; p != nil {
		s.Claim = *p
	}
	switch {
	case content.Status.RestoreSize != nil && *content.Status.RestoreSize > 0:
		s.Size = resource.NewQuantity(*content.Status.RestoreSize, resource.BinarySI).String()
	case vs.Status.RestoreSize != nil && vs.Status.RestoreSize.Sign() > 0:
		s.Size = vs.Status.RestoreSize.String()
	}
	return s, true, nil
}

// OfBundle is the inventory's own snapshot of a claim: a handle in the storage system whose VolumeSnapshot may be gone. Import
// makes one of it.
func OfBundle(b *inventory.Bundle, claim string) (run.Snapshot, bool) {
	s, ok := b.SnapshotFor(claim)
	if !ok {
		return run.Snapshot{}, false
	}
	return run.Snapshot{Claim: claim, Handle: s.Handle, Driver: s.Driver, Size: s.Size, TakenAt: s.TakenAt}, true
}
