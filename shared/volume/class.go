package volume

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// defaultClass marks the class of claims that name none
// (https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass).
const defaultClass = "storageclass.kubernetes.io/is-default-class"

// ClassNamed returns a class by name, or nil.
func ClassNamed(classes []storagev1.StorageClass, name string) *storagev1.StorageClass {
	i := slices.IndexFunc(classes, func(c storagev1.StorageClass) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &classes[i]
}

// DefaultClass returns the default class, the newest when there are several (as the API server chooses), or nil.
func DefaultClass(classes []storagev1.StorageClass) *storagev1.StorageClass {
	var best *storagev1.StorageClass
	for i := range classes {
		c := &classes[i]
		if c.Annotations[defaultClass] != "true" {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&c.CreationTimestamp) {
			best = c
		}
	}
	return best
}

// ClassOf returns the class that would provision a claim, or nil: the name that is missing is returned beside it ("" when no
// class is named and there is no default).
func ClassOf(classes []storagev1.StorageClass, c *corev1.PersistentVolumeClaim) (class *storagev1.StorageClass, name string) {
	name, set := ClassName(c)
	if !set {
		if d := DefaultClass(classes); d != nil {
			return d, d.Name
		}
		return nil, ""
	}
	return ClassNamed(classes, name), name
}

// WaitsForConsumer tells whether the class binds only when a pod is scheduled.
func WaitsForConsumer(c *storagev1.StorageClass) bool {
	return c.VolumeBindingMode != nil && *c.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// migrated maps in-tree volume plugins to the CSI drivers that serve them since the migration
// (https://kubernetes.io/docs/concepts/storage/volumes/#csi-migration).
var migrated = map[string]string{
	"kubernetes.io/aws-ebs":         "ebs.csi.aws.com",
	"kubernetes.io/gce-pd":          "pd.csi.storage.gke.io",
	"kubernetes.io/azure-disk":      "disk.csi.azure.com",
	"kubernetes.io/azure-file":      "file.csi.azure.com",
	"kubernetes.io/cinder":          "cinder.csi.openstack.org",
	"kubernetes.io/vsphere-volume":  "csi.vsphere.vmware.com",
	"kubernetes.io/portworx-volume": "pxd.portworx.com",
}

// NoProvisioner is the provisioner of classes for volumes that people make.
const NoProvisioner = "kubernetes.io/no-provisioner"

// DriverName is the CSI driver behind a provisioner's name; "" for one that makes nothing.
func DriverName(provisioner string) string {
	if d, ok := migrated[provisioner]; ok {
		return d
	}
	if provisioner == NoProvisioner {
		return ""
	}
	return provisioner
}

// DriverOfVolume is the CSI driver of a volume, or "" for a volume that needs none (hostPath, local, nfs).
func DriverOfVolume(v *corev1.PersistentVolume) string {
	s := v.Spec.PersistentVolumeSource
	switch {
	case s.CSI != nil:
		return s.CSI.Driver
	case s.AWSElasticBlockStore != nil:
		return migrated["kubernetes.io/aws-ebs"]
	case s.GCEPersistentDisk != nil:
		return migrated["kubernetes.io/gce-pd"]
	case s.AzureDisk != nil:
		return migrated["kubernetes.io/azure-disk"]
	case s.AzureFile != nil:
		return migrated["kubernetes.io/azure-file"]
	case s.Cinder != nil:
		return migrated["kubernetes.io/cinder"]
	case s.VsphereVolume != nil:
		return migrated["kubernetes.io/vsphere-volume"]
	}
	return ""
}
