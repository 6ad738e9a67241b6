package assess

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/volume"
)

// wanted is what the inventory says of the workload's storage.
type wanted struct {
	statefulSet *appsv1.StatefulSet
	// claims are the names of all claims that existed or must exist.
	claims  []string
	classes []storagev1.StorageClass
	// objects are the claims themselves, for their classes.
	objects []corev1.PersistentVolumeClaim
}

// wantedOf picks the workload's storage from the inventory. An object that does not decode is left out: verification has
// judged the file, and what is missing here fails closed.
func wantedOf(objects []*unstructured.Unstructured, m *inventory.Manifest, statefulSet string) wanted {
	var w wanted
	for _, o := range objects {
		switch o.GroupVersionKind().GroupKind().String() {
		case "StatefulSet.apps":
			if s, err := cluster.Decode[appsv1.StatefulSet](o); err == nil && s.Name == statefulSet {
				w.statefulSet = s
			}
		case "PersistentVolumeClaim":
			if c, err := cluster.Decode[corev1.PersistentVolumeClaim](o); err == nil && volume.IsClaimOf(c.Name, statefulSet) {
				w.objects = append(w.objects, *c)
				w.claims = append(w.claims, c.Name)
			}
		case "StorageClass.storage.k8s.io":
			if c, err := cluster.Decode[storagev1.StorageClass](o); err == nil {
				w.classes = append(w.classes, *c)
			}
		}
	}
	for _, s := range m.Snapshots {
		if volume.IsClaimOf(s.Claim, statefulSet) {
			w.claims = append(w.claims, s.Claim)
		}
	}
	slices.Sort(w.claims)
	w.claims = slices.Compact(w.claims)
	return w
}

// claimNames are the claims that the inventory's StatefulSet uses.
func (w wanted) claimNames() []string {
	if w.statefulSet == nil {
		return w.claims
	}
	return volume.ClaimNames(w.statefulSet)
}
