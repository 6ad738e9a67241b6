// Package velero is what is used of Velero's objects in a cluster: their resources, phases and fields, and builders for a Restore, a
// Backup and a restore's resource modifiers. It links nothing of Velero; the definitions are those of
// https://github.com/vmware-tanzu/velero/tree/v1.18.3/pkg/apis/velero.
package velero

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group and versions of Velero's API.
const (
	Group      = "velero.io"
	APIVersion = Group + "/v1"
)

// Resources that are read or made.
var (
	Restores               = schema.GroupVersionResource{Group: Group, Version: "v1", Resource: "restores"}
	Backups                = schema.GroupVersionResource{Group: Group, Version: "v1", Resource: "backups"}
	BackupStorageLocations = schema.GroupVersionResource{Group: Group, Version: "v1", Resource: "backupstoragelocations"}
	Schedules              = schema.GroupVersionResource{Group: Group, Version: "v1", Resource: "schedules"}
	PodVolumeRestores      = schema.GroupVersionResource{Group: Group, Version: "v1", Resource: "podvolumerestores"}
	DataDownloads          = schema.GroupVersionResource{Group: Group, Version: "v2alpha1", Resource: "datadownloads"}
)

// Labels of Velero (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/apis/velero/v1/labels_annotations.go). Everything that a
// restore creates carries LabelRestore, but not the namespace.
const (
	LabelRestore    = "velero.io/restore-name"
	LabelRestoreUID = "velero.io/restore-uid"
	LabelBackup     = "velero.io/backup-name"
	LabelSchedule   = "velero.io/schedule-name"
)

// Finalizer of a Restore. Velero, when it deletes the Restore, first deletes the files of it in the bucket (restores/<name>/: its log,
// results and lists) and then removes the finalizer; it guards nothing else
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/controller/restore_controller.go, deleteExternalResources).
const Finalizer = "restores.velero.io/external-resources-finalizer"

// Phase of a Restore or Backup.
type Phase string

// Phases of Restores and Backups
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/apis/velero/v1/restore_types.go and backup_types.go).
const (
	New                                       Phase = "New"
	FailedValidation                          Phase = "FailedValidation"
	InProgress                                Phase = "InProgress"
	WaitingForPluginOperations                Phase = "WaitingForPluginOperations"
	WaitingForPluginOperationsPartiallyFailed Phase = "WaitingForPluginOperationsPartiallyFailed"
	Finalizing                                Phase = "Finalizing"
	FinalizingPartiallyFailed                 Phase = "FinalizingPartiallyFailed"
	Completed                                 Phase = "Completed"
	PartiallyFailed                           Phase = "PartiallyFailed"
	Failed                                    Phase = "Failed"

	// Queued, ReadyToStart and Deleting are phases of Backups alone.
	Queued       Phase = "Queued"
	ReadyToStart Phase = "ReadyToStart"
	Deleting     Phase = "Deleting"
)

// Ended tells whether Velero is finished with it.
func (p Phase) Ended() bool {
	return p == Completed || p == PartiallyFailed || p == Failed || p == FailedValidation
}

// Lost tells whether it ended, or is bound to end, as something else than Completed.
func (p Phase) Lost() bool {
	switch p {
	case Failed, FailedValidation, PartiallyFailed, WaitingForPluginOperationsPartiallyFailed, FinalizingPartiallyFailed:
		return true
	}
	return false
}

// Begun tells whether Velero has taken it up.
func (p Phase) Begun() bool { return p != "" && p != New && p != Queued && p != ReadyToStart }

// ObjectsDone tells whether a Restore's objects have been created, as far as they could be: what follows are data movement and hooks.
func (p Phase) ObjectsDone() bool { return p.Begun() && p != InProgress && p != FailedValidation }

// MovePhase is the phase of a DataDownload or PodVolumeRestore
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/apis/velero/v2alpha1/data_download_types.go).
type MovePhase string

// Phases in which the movement of data ends. The others are New, Accepted, Prepared, InProgress and Canceling.
const (
	MoveCompleted MovePhase = "Completed"
	MoveFailed    MovePhase = "Failed"
	MoveCanceled  MovePhase = "Canceled"
)

// Lost tells whether the data will not come.
func (p MovePhase) Lost() bool { return p == MoveFailed || p == MoveCanceled }

// Restore brings a backup back.
type Restore struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		BackupName       string            `json:"backupName"`
		NamespaceMapping map[string]string `json:"namespaceMapping,omitempty"`
	} `json:"spec"`
	Status struct {
		Phase               Phase        `json:"phase,omitempty"`
		ValidationErrors    []string     `json:"validationErrors,omitempty"`
		Warnings            int          `json:"warnings,omitempty"`
		Errors              int          `json:"errors,omitempty"`
		FailureReason       string       `json:"failureReason,omitempty"`
		StartTimestamp      *metav1.Time `json:"startTimestamp,omitempty"`
		CompletionTimestamp *metav1.Time `json:"completionTimestamp,omitempty"`
		Progress            *Progress    `json:"progress,omitempty"`
		// Item operations are what goes on after the objects were created: data movement.
		OperationsAttempted int         `json:"restoreItemOperationsAttempted,omitempty"`
		OperationsCompleted int         `json:"restoreItemOperationsCompleted,omitempty"`
		OperationsFailed    int         `json:"restoreItemOperationsFailed,omitempty"`
		HookStatus          *HookStatus `json:"hookStatus,omitempty"`
	} `json:"status"`
}

// Progress of a Restore.
type Progress struct {
	TotalItems    int `json:"totalItems,omitempty"`
	ItemsRestored int `json:"itemsRestored,omitempty"`
}

// HookStatus counts the hooks of a Restore or Backup.
type HookStatus struct {
	Attempted int `json:"hooksAttempted,omitempty"`
	Failed    int `json:"hooksFailed,omitempty"`
}

// Backup is a backup as the cluster knows it; the bucket is the truth.
type Backup struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		StorageLocation    string   `json:"storageLocation,omitempty"`
		IncludedNamespaces []string `json:"includedNamespaces,omitempty"`
		SnapshotMoveData   *bool    `json:"snapshotMoveData,omitempty"`
	} `json:"spec"`
	Status struct {
		Phase               Phase        `json:"phase,omitempty"`
		ValidationErrors    []string     `json:"validationErrors,omitempty"`
		Warnings            int          `json:"warnings,omitempty"`
		Errors              int          `json:"errors,omitempty"`
		FailureReason       string       `json:"failureReason,omitempty"`
		StartTimestamp      *metav1.Time `json:"startTimestamp,omitempty"`
		CompletionTimestamp *metav1.Time `json:"completionTimestamp,omitempty"`
		Expiration          *metav1.Time `json:"expiration,omitempty"`
	} `json:"status"`
}

// BackupStorageLocation is where Velero keeps backups.
type BackupStorageLocation struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Provider      string `json:"provider"`
		ObjectStorage struct {
			Bucket string `json:"bucket"`
			Prefix string `json:"prefix,omitempty"`
		} `json:"objectStorage"`
		// AccessMode is ReadWrite or ReadOnly.
		AccessMode string `json:"accessMode,omitempty"`
		// Default tells that Velero takes it when nothing is said; Config is the provider's (region, s3Url).
		Default bool              `json:"default,omitempty"`
		Config  map[string]string `json:"config,omitempty"`
	} `json:"spec"`
	Status struct {
		// Phase is Available or Unavailable.
		Phase          string       `json:"phase,omitempty"`
		Message        string       `json:"message,omitempty"`
		LastSyncedTime *metav1.Time `json:"lastSyncedTime,omitempty"`
	} `json:"status"`
}

// LocationAvailable is the phase of a BackupStorageLocation that Velero could reach when it last looked.
const LocationAvailable = "Available"

// Location is the place as a plan names it: s3://bucket/prefix.
func (l *BackupStorageLocation) Location() string {
	return place(l.Spec.ObjectStorage.Bucket, l.Spec.ObjectStorage.Prefix)
}

// Schedule takes backups.
type Schedule struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Schedule string `json:"schedule"`
		Paused   bool   `json:"paused,omitempty"`
		// Template is the spec of its backups.
		Template struct {
			IncludedNamespaces []string `json:"includedNamespaces,omitempty"`
			ExcludedNamespaces []string `json:"excludedNamespaces,omitempty"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		// Phase is New, Enabled or FailedValidation.
		Phase            string       `json:"phase,omitempty"`
		LastBackup       *metav1.Time `json:"lastBackup,omitempty"`
		ValidationErrors []string     `json:"validationErrors,omitempty"`
	} `json:"status"`
}

// DataDownload brings the data of one claim back from the bucket. Its owner is its Restore.
type DataDownload struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		TargetVolume struct {
			PVC       string `json:"pvc"`
			Namespace string `json:"namespace"`
		} `json:"targetVolume"`
	} `json:"spec"`
	Status MoveStatus `json:"status"`
}

// PodVolumeRestore brings the data of one volume of one pod back from the bucket.
type PodVolumeRestore struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Pod struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"pod"`
		Volume string `json:"volume"`
	} `json:"spec"`
	Status MoveStatus `json:"status"`
}

// MoveStatus is where the movement of data stands.
type MoveStatus struct {
	Phase    MovePhase `json:"phase,omitempty"`
	Message  string    `json:"message,omitempty"`
	Progress struct {
		TotalBytes int64 `json:"totalBytes,omitempty"`
		BytesDone  int64 `json:"bytesDone,omitempty"`
	} `json:"progress"`
}
