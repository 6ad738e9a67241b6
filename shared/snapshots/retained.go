package snapshots

import (
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/volume"
)

// Retained is the volume that was bound to a claim which is gone, and that Release can give to a new one; the newest when there
// are several, nil when there is none. Whether its policy is Retain is for the caller to ensure before Release.
func Retained(f *volume.Facts, claim string) *corev1.PersistentVolume {
	var best *corev1.PersistentVolume
	for i := range f.Volumes {
		v := &f.Volumes[i]
		if r := v.Spec.ClaimRef; r == nil || r.Namespace != f.Namespace || r.Name != claim || v.DeletionTimestamp != nil ||
			(v.Status.Phase != corev1.VolumeReleased && v.Status.Phase != corev1.VolumeAvailable) {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&v.CreationTimestamp) {
			best = v
		}
	}
	return best
}
