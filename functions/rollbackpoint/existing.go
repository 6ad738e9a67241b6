package rollbackpoint

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// existing finds the snapshot that each claim could be restored from, in this order:
//  1. the newest ready VolumeSnapshot in the namespace that the plan's selector chooses;
//  2. when VolumeSnapshots are gone with their namespace: the newest ready VolumeSnapshotContent that was taken there, of a volume
//     that is still reserved for the claim (a selector cannot be held against a content, so none may be set);
//  3. the inventory's own, when the inventory verifies.
//
// Those of 2 and 3 have no Name and Namespace: they must be imported before a claim can be made of them.
func existing(ctx context.Context, s *step.Session, f *volume.Facts, claims []run.ClaimPoint) (map[string]run.Snapshot, error) {
	selector := s.Plan.Spec.Rollback.Snapshots.Selector
	have := map[string]run.Snapshot{}
	if len(claims) == 0 {
		return have, nil
	}
	var wanted []string
	for _, c := range claims {
		wanted = append(wanted, c.Name)
	}
	have, err := snapshots.Newest(ctx, s.Cluster, f.Namespace, selector, wanted)
	if err != nil {
		return nil, err
	}
	if len(have) == len(wanted) {
		return have, nil
	}
	if len(selector) == 0 {
		if err := fromContents(ctx, s.Cluster, f, have); err != nil {
			return nil, err
		}
	}
	if len(have) == len(wanted) {
		return have, nil
	}
	return have, fromInventory(ctx, s, wanted, have)
}

// content is the part of a VolumeSnapshotContent that is read here
// (https://kubernetes.io/docs/concepts/storage/volume-snapshots/#volume-snapshot-contents).
type content struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Driver            string                 `json:"driver"`
		VolumeSnapshotRef corev1.ObjectReference `json:"volumeSnapshotRef"`
		Source            struct {
			VolumeHandle *string `json:"volumeHandle,omitempty"`
		} `json:"source"`
	} `json:"spec"`
	Status struct {
		SnapshotHandle *string `json:"snapshotHandle,omitempty"`
		CreationTime   *int64  `json:"creationTime,omitempty"` // nanoseconds since 1970
		RestoreSize    *int64  `json:"restoreSize,omitempty"`  // bytes
		ReadyToUse     *bool   `json:"readyToUse,omitempty"`
	} `json:"status"`
}

func fromContents(ctx context.Context, c *cluster.Client, f *volume.Facts, have map[string]run.Snapshot) error {
	contents, err := cluster.List[content](ctx, c, cluster.VolumeSnapshotContents, "", metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil // a cluster without the snapshot API
	}
	if err != nil {
		return cluster.Fault("list VolumeSnapshotContents", err)
	}
	found := newestContents(f, contents)
	for claim, s := range found {
		if _, ok := have[claim]; !ok {
			have[claim] = s
		}
	}
	return nil
}

// newestContents maps claims to the newest content that was taken of a volume that is reserved for the claim.
func newestContents(f *volume.Facts, contents []content) map[string]run.Snapshot {
	claimOf := map[string]string{} // by driver and volume handle
	for i := range f.Volumes {
		if v := &f.Volumes[i]; v.Spec.CSI != nil {
			claimOf[v.Spec.CSI.Driver+"\x00"+v.Spec.CSI.VolumeHandle] = v.Spec.ClaimRef.Name
		}
	}
	out := map[string]run.Snapshot{}
	for i := range contents {
		c := &contents[i]
		if c.DeletionTimestamp != nil || c.Spec.VolumeSnapshotRef.Namespace != f.Namespace || c.Spec.Source.VolumeHandle == nil ||
			c.Status.SnapshotHandle == nil || c.Status.ReadyToUse == nil || !*c.Status.ReadyToUse || c.Status.CreationTime == nil {
			continue
		}
		claim, ok := claimOf[c.Spec.Driver+"\x00"+*c.Spec.Source.VolumeHandle]
		if !ok {
			continue
		}
		s := run.Snapshot{Claim: claim, Content: c.Name, Handle: *c.Status.SnapshotHandle, Driver: c.Spec.Driver,
			TakenAt: time.Unix(0, *c.Status.CreationTime).UTC()}
		if c.Status.RestoreSize != nil && *c.Status.RestoreSize > 0 {
			s.Size = resource.NewQuantity(*c.Status.RestoreSize, resource.BinarySI).String()
		}
		if old, ok := out[claim]; !ok || s.TakenAt.After(old.TakenAt) {
			out[claim] = s
		}
	}
	return out
}

func fromInventory(ctx context.Context, s *step.Session, wanted []string, have map[string]run.Snapshot) error {
	b, verdict, err := s.VerifiedInventory(ctx)
	if err != nil {
		return err
	}
	if b == nil {
		return nil
	}
	defer b.Close()
	if verdict.Status != signal.True {
		return nil
	}
	for _, claim := range wanted {
		if _, ok := have[claim]; ok {
			continue
		}
		if snap, ok := snapshots.OfBundle(b, claim); ok {
			have[claim] = snap
		}
	}
	return nil
}
