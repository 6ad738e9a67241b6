package snapshots

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

// Release makes a retained volume whose claim is gone take a new claim of the same namespace and name: the old claim's UID is
// removed from its claimRef (https://kubernetes.io/docs/concepts/storage/persistent-volumes/#reserving-a-persistentvolume).
// Only a volume whose policy is Retain and whose claimRef names exactly this claim is touched. It is not undone: when the new
// claim goes, the volume is Released again and keeps its data.
func Release(ctx context.Context, ch *change.Changer, pv *corev1.PersistentVolume, namespace, claim string) error {
	op := fmt.Sprintf("release volume %s for claim %s/%s", pv.Name, namespace, claim)
	ref := pv.Spec.ClaimRef
	switch {
	case ref == nil || ref.Namespace != namespace || ref.Name != claim:
		return fault.Newf(fault.NotQualified, op, "it was not this claim's volume")
	case pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain:
		return fault.Newf(fault.NotQualified, op, "its reclaim policy is %s, expected Retain", pv.Spec.PersistentVolumeReclaimPolicy)
	case pv.DeletionTimestamp != nil:
		return fault.Newf(fault.NotQualified, op, "it is being deleted")
	case pv.Status.Phase == corev1.VolumeBound:
		return fault.Newf(fault.NotQualified, op, "it is bound")
	}
	if ref.UID == "" {
		return nil
	}
	_, err := ch.Patch(ctx, change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: pv.Name, UID: pv.UID},
		types.MergePatchType, []byte(`{"spec":{"claimRef":{"uid":null,"resourceVersion":null}}}`), "", "let the claim of the same name take the retained volume", journal.UndoNothing)
	return err
}
