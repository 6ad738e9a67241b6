package snapshots

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The parts of the snapshot API that are used here, as
// https://github.com/kubernetes-csi/external-snapshotter/tree/master/client/apis/volumesnapshot/v1 defines them.

// APIGroup and APIVersion of VolumeSnapshots.
const (
	APIGroup   = "snapshot.storage.k8s.io"
	APIVersion = APIGroup + "/v1"
	Kind       = "VolumeSnapshot"
)

// VolumeSnapshot is a snapshot of a claim, in the claim's namespace.
type VolumeSnapshot struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Source struct {
			PersistentVolumeClaimName *string `json:"persistentVolumeClaimName,omitempty"`
			VolumeSnapshotContentName *string `json:"volumeSnapshotContentName,omitempty"`
		} `json:"source"`
		VolumeSnapshotClassName *string `json:"volumeSnapshotClassName,omitempty"`
	} `json:"spec"`
	Status struct {
		BoundVolumeSnapshotContentName *string            `json:"boundVolumeSnapshotContentName,omitempty"`
		CreationTime                   *metav1.Time       `json:"creationTime,omitempty"`
		ReadyToUse                     *bool              `json:"readyToUse,omitempty"`
		RestoreSize                    *resource.Quantity `json:"restoreSize,omitempty"`
		Error                          *Error             `json:"error,omitempty"`
	} `json:"status"`
}

// Error is what the driver said of a snapshot.
type Error struct {
	Message *string `json:"message,omitempty"`
}

// VolumeSnapshotContent is the storage system's snapshot, cluster-scoped.
type VolumeSnapshotContent struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		VolumeSnapshotRef corev1.ObjectReference       `json:"volumeSnapshotRef"`
		DeletionPolicy    string                       `json:"deletionPolicy"`
		Driver            string                       `json:"driver"`
		SourceVolumeMode  *corev1.PersistentVolumeMode `json:"sourceVolumeMode,omitempty"`
	} `json:"spec"`
	Status struct {
		SnapshotHandle *string `json:"snapshotHandle,omitempty"`
		// CreationTime is in nanoseconds since 1970, RestoreSize in bytes.
		CreationTime *int64 `json:"creationTime,omitempty"`
		RestoreSize  *int64 `json:"restoreSize,omitempty"`
		ReadyToUse   *bool  `json:"readyToUse,omitempty"`
	} `json:"status"`
}
