package backup

import (
	"cmp"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"fallbackchain.io/fallback/shared/run"
)

// Ways in which a volume's data is kept
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/internal/volume/volumes_information.go).
const (
	MethodCSISnapshot     = "CSISnapshot"
	MethodNativeSnapshot  = "NativeSnapshot"
	MethodPodVolumeBackup = "PodVolumeBackup"
	// MethodDataMovement is CSISnapshot whose data was moved into the bucket: Velero has no name of its own for it.
	MethodDataMovement = "CSISnapshotWithDataMovement"
	// MethodSkipped: the volume's data is not in the backup, on purpose.
	MethodSkipped = "Skipped"
)

// volumeInfo is one element of <backup>-volumeinfo.json.gz. Phase and ReadyToUse have no JSON names in Velero.
type volumeInfo struct {
	PVCName             string     `json:"pvcName"`
	PVCNamespace        string     `json:"pvcNamespace"`
	PVName              string     `json:"pvName"`
	BackupMethod        string     `json:"backupMethod"`
	SnapshotDataMoved   bool       `json:"snapshotDataMoved"`
	Skipped             bool       `json:"skipped"`
	SkippedReason       string     `json:"skippedReason"`
	StartTimestamp      *time.Time `json:"startTimestamp"`
	CompletionTimestamp *time.Time `json:"completionTimestamp"`
	Result              string     `json:"result"`
	CSI                 *struct {
		SnapshotHandle string `json:"snapshotHandle"`
		Size           int64  `json:"size"`
		Driver         string `json:"driver"`
		VSCName        string `json:"vscName"`
		OperationID    string `json:"operationID"`
		ReadyToUse     *bool  `json:"ReadyToUse"`
	} `json:"csiSnapshotInfo"`
	Moved *struct {
		DataMover      string `json:"dataMover"`
		SnapshotHandle string `json:"snapshotHandle"`
		Size           int64  `json:"size"`
		Phase          string `json:"Phase"`
	} `json:"snapshotDataMovementInfo"`
	Native *struct {
		SnapshotHandle string `json:"snapshotHandle"`
		Phase          string `json:"Phase"`
	} `json:"nativeSnapshotInfo"`
	PVB *struct {
		SnapshotHandle string `json:"snapshotHandle"`
		Size           int64  `json:"size"`
		VolumeName     string `json:"volumeName"`
		PodName        string `json:"podName"`
		PodNamespace   string `json:"podNamespace"`
		Phase          string `json:"Phase"`
	} `json:"pvbInfo"`
}

// String names the volume for people.
func (i volumeInfo) String() string {
	switch {
	case i.PVCName != "":
		return "claim " + i.PVCNamespace + "/" + i.PVCName
	case i.PVB != nil:
		return "volume " + i.PVB.VolumeName + " of pod " + i.PVB.PodNamespace + "/" + i.PVB.PodName
	}
	return "volume " + i.PVName
}

// namespace of the claim or pod; empty when there is neither.
func (i volumeInfo) namespace() string {
	if i.PVB != nil {
		return cmp.Or(i.PVCNamespace, i.PVB.PodNamespace)
	}
	return i.PVCNamespace
}

// unknownValue is what Velero writes for the handle of a snapshot whose data was moved.
const unknownValue = "unknown"

// trouble says why the volume's data cannot be restored; empty when it can, as far as the backup tells.
func (i volumeInfo) trouble() string {
	if i.Skipped {
		return ""
	}
	handle, phase := "", PhaseCompleted
	switch i.method() {
	case MethodCSISnapshot:
		if i.CSI == nil {
			return "names no CSI snapshot"
		}
		if i.CSI.Driver == "" {
			return "names no CSI driver"
		}
		if i.CSI.ReadyToUse != nil && !*i.CSI.ReadyToUse {
			return fmt.Sprintf("has the snapshot %q, which was not ready to use", i.CSI.SnapshotHandle)
		}
		handle = i.CSI.SnapshotHandle
	case MethodDataMovement:
		if i.Moved == nil {
			return "names no data movement"
		}
		handle, phase = i.Moved.SnapshotHandle, i.Moved.Phase
	case MethodNativeSnapshot:
		if i.Native == nil {
			return "names no native snapshot"
		}
		handle, phase = i.Native.SnapshotHandle, i.Native.Phase
	case MethodPodVolumeBackup:
		if i.PVB == nil {
			return "names no pod volume backup"
		}
		handle, phase = i.PVB.SnapshotHandle, i.PVB.Phase
	default:
		return fmt.Sprintf("was kept by the method %q, which is not known", i.BackupMethod)
	}
	switch {
	case handle == "" || handle == unknownValue:
		return fmt.Sprintf("was kept by %s without a snapshot's handle", i.method())
	case phase != PhaseCompleted:
		return fmt.Sprintf("has a %s in phase %q, expected %s", i.method(), phase, PhaseCompleted)
	case i.Result == "" && i.method() == MethodCSISnapshot && i.CSI.OperationID == "":
		// Several item block workers of Velero lose operations to a race (https://github.com/velero-io/velero/issues/9659).
		return fmt.Sprintf("has the snapshot %q, and no item operation that awaited it: Velero lost it, which it does with an --item-block-worker-count above 1; "+
			"its VolumeSnapshot was left in the namespace", i.CSI.SnapshotHandle)
	case i.Result != "succeeded":
		return fmt.Sprintf("has the result %q, expected succeeded", i.Result)
	}
	return ""
}

func (i volumeInfo) method() string {
	if i.BackupMethod == MethodCSISnapshot && i.SnapshotDataMoved {
		return MethodDataMovement
	}
	return i.BackupMethod
}

// volume is what reports and restores are told.
func (i volumeInfo) volume() run.BackupVolume {
	v := run.BackupVolume{Namespace: i.namespace(), Claim: i.PVCName, Method: i.method()}
	size := int64(0)
	switch {
	case i.Skipped:
		v.Method = MethodSkipped
	case v.Method == MethodDataMovement && i.Moved != nil:
		v.Handle, size = i.Moved.SnapshotHandle, i.Moved.Size
	case v.Method == MethodCSISnapshot && i.CSI != nil:
		v.Handle, size = i.CSI.SnapshotHandle, i.CSI.Size
	case v.Method == MethodNativeSnapshot && i.Native != nil:
		v.Handle = i.Native.SnapshotHandle
	case v.Method == MethodPodVolumeBackup && i.PVB != nil:
		v.Handle, size = i.PVB.SnapshotHandle, i.PVB.Size
	}
	if i.CSI != nil {
		v.Driver = i.CSI.Driver
	}
	if size > 0 {
		v.Size = resource.NewQuantity(size, resource.BinarySI).String()
	}
	return v
}

// takenAt is when the snapshot was taken, as far as it is told.
func (i volumeInfo) takenAt() time.Time {
	for _, t := range []*time.Time{i.StartTimestamp, i.CompletionTimestamp} {
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}
