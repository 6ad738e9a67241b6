package restore

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

func readClasses(ctx context.Context, s *step.Session) ([]storagev1.StorageClass, error) {
	known, err := cluster.List[storagev1.StorageClass](ctx, s.Cluster, cluster.StorageClasses, "", metav1.ListOptions{})
	return known, cluster.Fault("list StorageClasses", err)
}

// fits tells whether a claim can be restored with its class: the class exists, its driver is the snapshot's, and its volumes go
// with their claims. A class that retains them would leave a drill's disks behind, and a drill may change neither volumes nor
// classes (change.Scope).
func fits(classes []storagev1.StorageClass, claim *corev1.PersistentVolumeClaim, name, driver string) error {
	op := "restore claim " + name
	class, wanted := volume.ClassOf(classes, claim)
	switch {
	case class == nil:
		return fault.Newf(fault.ObjectsMissing, op, "storage class %q does not exist in the cluster", wanted)
	case class.Provisioner != driver:
		return fault.Newf(fault.NotQualified, op, "storage class %s is of driver %s, its snapshot of %s", class.Name, class.Provisioner, driver)
	case class.ReclaimPolicy != nil && *class.ReclaimPolicy != corev1.PersistentVolumeReclaimDelete:
		// Delete is the default: https://kubernetes.io/docs/concepts/storage/storage-classes/#reclaim-policy
		return fault.Newf(fault.NotQualified, op, "storage class %s has reclaimPolicy %s, expected Delete: the drill's volumes would stay behind", class.Name, *class.ReclaimPolicy)
	}
	return nil
}
