package restore

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// classes chooses the storage class of each restored claim.
type classes struct {
	run   string
	ch    *change.Changer
	known []storagev1.StorageClass
}

func readClasses(ctx context.Context, s *step.Session, ch *change.Changer) (*classes, error) {
	known, err := cluster.List[storagev1.StorageClass](ctx, s.Cluster, cluster.StorageClasses, "", metav1.ListOptions{})
	if err != nil {
		return nil, cluster.Fault("list StorageClasses", err)
	}
	return &classes{run: s.Run.ID, ch: ch, known: known}, nil
}

// settle gives the claim a class that its snapshot's driver (empty: the data is in no snapshot) serves and whose volumes go with their claims: a drill must not leave
// disks behind. Where production's class retains its volumes, the drill makes a copy of the class, under its own name, that
// deletes them.
func (c *classes) settle(ctx context.Context, claim *corev1.PersistentVolumeClaim, driver string) error {
	op := "restore claim " + claim.Name
	class, name := volume.ClassOf(c.known, claim)
	switch {
	case class == nil:
		return fault.Newf(fault.ObjectsMissing, op, "storage class %q does not exist in the cluster", name)
	case driver != "" && class.Provisioner != driver:
		return fault.Newf(fault.NotQualified, op, "storage class %s is of driver %s, its snapshot of %s", class.Name, class.Provisioner, driver)
	}
	if class.ReclaimPolicy == nil || *class.ReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		return nil // Delete is the default: https://kubernetes.io/docs/concepts/storage/storage-classes/#reclaim-policy
	}
	own := ephemeral(class, c.run)
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(own)
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	u := &unstructured.Unstructured{Object: m}
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	why := fmt.Sprintf("class %s keeps volumes: the drill's go with their claims", class.Name)
	if _, err := c.ch.Create(ctx, u, why); err != nil {
		return err
	}
	claim.Spec.StorageClassName = &own.Name
	delete(claim.Annotations, corev1.BetaStorageClassAnnotation) // it would win over the field
	return nil
}

// ephemeral copies a class for one run: same driver and parameters, volumes deleted with their claims.
func ephemeral(class *storagev1.StorageClass, runID string) *storagev1.StorageClass {
	gone := corev1.PersistentVolumeReclaimDelete
	return &storagev1.StorageClass{
		TypeMeta:    metav1.TypeMeta{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"},
		ObjectMeta:  metav1.ObjectMeta{Name: runID + "-" + class.Name},
		Provisioner: class.Provisioner, Parameters: class.Parameters, ReclaimPolicy: &gone, MountOptions: class.MountOptions,
		AllowVolumeExpansion: class.AllowVolumeExpansion, VolumeBindingMode: class.VolumeBindingMode, AllowedTopologies: class.AllowedTopologies,
	}
}
