package run

import (
	"time"

	"fallbackchain.io/fallback/shared/signal"
)

// Phase is where a section stands. The graph compares it, so every section a Choice reads has one.
type Phase string

const (
	// Running: the step's slice of time is over and it is not done; the graph comes back to it.
	Running Phase = "Running"
	// Started: Start returned; Await follows.
	Started Phase = "Started"
	// Succeeded and Failed end a tier or a restore.
	Succeeded Phase = "Succeeded"
	Failed    Phase = "Failed"

	// Admitted, Hold and NotAdmitted end admit.
	Admitted    Phase = "Admitted"
	Hold        Phase = "Hold"
	NotAdmitted Phase = "Skipped"

	// Held, Busy and Released end lease.
	Held     Phase = "Held"
	Busy     Phase = "Busy"
	Released Phase = "Released"

	// Assessed and Unreadable end assess.
	Assessed   Phase = "Assessed"
	Unreadable Phase = "Unreadable"

	// Captured ends rollbackpoint (or Failed).
	Captured Phase = "Captured"

	// Applied (not yet verified), Verified, Broken, Lifted end quarantine's apply, check, lift.
	Applied  Phase = "Applied"
	Verified Phase = "Verified"
	Broken   Phase = "Broken"
	Lifted   Phase = "Lifted"

	// Ready, NotReady, Passed, Refused end gate's two operations.
	Ready    Phase = "Ready"
	NotReady Phase = "NotReady"
	Passed   Phase = "Passed"
	Refused  Phase = "Refused"

	// Undone, NothingToUndo and Incomplete end rollback and teardown.
	Undone        Phase = "Undone"
	NothingToUndo Phase = "NothingToUndo"
	Incomplete    Phase = "Incomplete"

	// NotApplicable: the plan has nothing that this step works on (no Velero backups).
	NotApplicable Phase = "NotApplicable"

	// Written ends report.
	Written Phase = "Written"
)

// Waiting is what every section with an Await loop has.
type Waiting struct {
	// Deadline is absolute, set once by Start from the plan's budget.
	Deadline *time.Time `json:"deadline,omitempty"`
	// Rounds counts the Await calls so far.
	Rounds int `json:"rounds,omitempty"`
	// Waited is the time spent waiting for the cluster (not working), in milliseconds; overhead is run time minus it.
	WaitedMS int64 `json:"waitedMs,omitempty"`
}

// Admit is the section of admit.
type Admit struct {
	Phase  Phase  `json:"phase"` // Admitted, Hold, Skipped
	Reason string `json:"reason,omitempty"`
	// Message is for people.
	Message string `json:"message,omitempty"`
	// HoldUntil is when the alarm is read again (RFC 3339; a Wait state's TimestampPath).
	HoldUntil *time.Time `json:"holdUntil,omitempty"`
	// Tiers tells which tiers the plan enables, by tier name. Always holds all three.
	Tiers map[string]bool `json:"tiers,omitempty"`
	// Target is the namespace the steps work on: the workload's own in recover, the drill's in drill.
	Target string `json:"target,omitempty"`
	// ClusterUID is the UID of kube-system, when it could be read.
	ClusterUID string `json:"clusterUid,omitempty"`
	// PlanDigest is "sha256:<hex>" of the plan that was admitted; it pins the plan for runs whose reference has no digest.
	PlanDigest string `json:"planDigest,omitempty"`
}

// Lease is the section of lease.
type Lease struct {
	Waiting
	Phase Phase `json:"phase"` // Held, Busy, Running, Released
	// Name of the coordination.k8s.io Lease in the fallback-chain namespace.
	Name string `json:"name,omitempty"`
	// Holder that kept us out, when Busy.
	Holder     string     `json:"holder,omitempty"`
	AcquiredAt *time.Time `json:"acquiredAt,omitempty"`
	// AwaySince is when the API server did not answer any more; Unsure tells that the answer to a write was lost, so that the run
	// may hold the lease without knowing it.
	AwaySince *time.Time `json:"awaySince,omitempty"`
	Unsure    bool       `json:"unsure,omitempty"`
	Message   string     `json:"message,omitempty"`
}

// Assess is the section of assess.
type Assess struct {
	Waiting
	Phase   Phase      `json:"phase"` // Assessed, Unreadable, Running
	At      time.Time  `json:"at"`
	Signals signal.Set `json:"signals"`
	// KubernetesVersion of the target, e.g. "v1.36.3".
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
}

// Snapshot is one volume snapshot that a claim can be restored from.
type Snapshot struct {
	Claim string `json:"claim"`
	// Name of the VolumeSnapshot and the namespace it is in.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Content is the VolumeSnapshotContent, Handle the storage system's own ID.
	Content string    `json:"content,omitempty"`
	Handle  string    `json:"handle,omitempty"`
	Driver  string    `json:"driver,omitempty"`
	Size    string    `json:"size,omitempty"`
	TakenAt time.Time `json:"takenAt"`
	// Fresh is true when this run took it.
	Fresh bool `json:"fresh,omitempty"`
}

// Title names the snapshot for people: the VolumeSnapshot; else the storage system's own ID, for of a Velero backup no more is known.
func (s Snapshot) Title() string {
	switch {
	case s.Name != "":
		return s.Namespace + "/" + s.Name
	case s.Handle == "":
		return "without a name and handle"
	case s.Driver == "": // moved data: the handle is the data mover's
		return "handle " + s.Handle
	}
	return "handle " + s.Handle + " of driver " + s.Driver
}

// ClaimPoint is what is known about a claim before the first change.
type ClaimPoint struct {
	Name          string `json:"name"`
	UID           string `json:"uid"`
	Volume        string `json:"volume,omitempty"`
	StorageClass  string `json:"storageClass,omitempty"`
	Size          string `json:"size,omitempty"`
	ReclaimPolicy string `json:"reclaimPolicy,omitempty"`
}

// RollbackPoint is the section of rollbackpoint: what must be known to undo all changes.
type RollbackPoint struct {
	Waiting
	Phase     Phase        `json:"phase"` // Captured, Running, Failed
	Reason    string       `json:"reason,omitempty"`
	Message   string       `json:"message,omitempty"`
	Snapshots []Snapshot   `json:"snapshots,omitempty"`
	Claims    []ClaimPoint `json:"claims,omitempty"`
	// Replicas of the StatefulSet; nil when it does not exist.
	Replicas *int32 `json:"replicas,omitempty"`
	// WhenDeleted and WhenScaled are the StatefulSet's persistentVolumeClaimRetentionPolicy.
	WhenDeleted string `json:"whenDeleted,omitempty"`
	WhenScaled  string `json:"whenScaled,omitempty"`
	// Owners that must be paused before a scale-down, as "kind/name".
	Owners []string `json:"owners,omitempty"`
	// Production maps "kind/namespace/name" to resourceVersion for the drill's proof that production was left alone.
	// More than fits go to the evidence; ProductionDigest is over all of them.
	ProductionDigest string `json:"productionDigest,omitempty"`
	ProductionCount  int    `json:"productionCount,omitempty"`
	// Evidence holds all of Snapshots and Claims when the section has only the first of them; the counts are of all.
	Evidence      *Evidence `json:"evidence,omitempty"`
	SnapshotCount int       `json:"snapshotCount,omitempty"`
	ClaimCount    int       `json:"claimCount,omitempty"`
}

// Evidence points to what is too large for a section.
type Evidence struct {
	URI string `json:"uri"`
	// Digest is "sha256:<hex>" of its bytes.
	Digest string `json:"digest"`
}

// Quarantine is the section of quarantine.
type Quarantine struct {
	Waiting
	Phase     Phase  `json:"phase"` // Applied, Verified, Broken, Running, Lifted
	Namespace string `json:"namespace"`
	// Wanted is the plan's level, Level the one that was proved ("" until then).
	Wanted string `json:"wanted"`
	Level  string `json:"level,omitempty"`
	// Policies are the NetworkPolicies in force, as names.
	Policies []string `json:"policies,omitempty"`
	// Findings say what opens the quarantine or could not be verified.
	Findings []string `json:"findings,omitempty"`
	Message  string   `json:"message,omitempty"`
}

// Restore is the section of restore.
type Restore struct {
	Waiting
	Phase     Phase      `json:"phase"` // Started, Running, Succeeded, Failed
	Reason    string     `json:"reason,omitempty"`
	Message   string     `json:"message,omitempty"`
	Namespace string     `json:"namespace"`
	Objects   int        `json:"objects"`
	Claims    []Snapshot `json:"claims,omitempty"`
	// LeftOut are the objects that were not restored, with the reason.
	LeftOut []string `json:"leftOut,omitempty"`
	// Velero is set when Velero restores.
	Velero *VeleroRestore `json:"velero,omitempty"`
	// ObjectsAt, VolumesAt, ScheduledAt and ReadyAt are when the objects were there, the claims bound, the pods scheduled and ready.
	ObjectsAt   *time.Time `json:"objectsAt,omitempty"`
	VolumesAt   *time.Time `json:"volumesAt,omitempty"`
	ScheduledAt *time.Time `json:"scheduledAt,omitempty"`
	ReadyAt     *time.Time `json:"readyAt,omitempty"`
}

// Tier is the cumulative section of a tier's Start and Await.
type Tier struct {
	Waiting
	Phase   Phase  `json:"phase"` // Started, Running, Succeeded, Failed
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Found is what was wrong, Done is what was changed (each is in the journal too).
	Found []string `json:"found,omitempty"`
	Done  []string `json:"done,omitempty"`
	// Made and ToMake count the changes of a Start that did not end within one call: Await goes on with the rest.
	Made   int `json:"made,omitempty"`
	ToMake int `json:"toMake,omitempty"`
}

// Finding is one thing that was found out about a backup or a restore that has not begun.
type Finding struct {
	// Severity is Stop (the restore must not begin), Warning, or Note.
	Severity string `json:"severity"`
	// Subject is the object of the bucket or the cluster, e.g. "backups/b1/b1.tar.gz" or "StorageClass gp3".
	Subject string `json:"subject"`
	Problem string `json:"problem"`
	// Means is what it means for a restore.
	Means string `json:"means,omitempty"`
}

// Severities of a Finding.
const (
	Stop    = "Stop"
	Warning = "Warning"
	Note    = "Note"
)

// BackupVolume is a claim of the backup and how its data was kept.
type BackupVolume struct {
	Namespace string `json:"namespace"`
	Claim     string `json:"claim"`
	// Method is Velero's: CSISnapshot, NativeSnapshot, PodVolumeBackup; CSISnapshotWithDataMovement when the data is in the bucket.
	Method string `json:"method"`
	Driver string `json:"driver,omitempty"`
	Handle string `json:"handle,omitempty"`
	Size   string `json:"size,omitempty"`
}

// Backup is the section of backup's choose: the restore point of this run, verified from S3.
type Backup struct {
	Waiting
	Phase   Phase  `json:"phase"` // Verified, Failed, NotApplicable, Running
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Status is the verdict's: True; False (it was read and is wrong) or Unknown (it could not be read) when Failed.
	Status signal.Status `json:"status,omitempty"`
	// Name of the Velero Backup, Location its s3:// place.
	Name     string `json:"name,omitempty"`
	Location string `json:"location,omitempty"`
	// Chosen is latest, named or random.
	Chosen string `json:"chosen,omitempty"`
	// StartedAt is the time that its data is of, and that its age is counted from: objects and snapshots were taken after it, some of them
	// at once. nil in a run of a version that did not write it.
	StartedAt   *time.Time `json:"startedAt,omitempty"`
	CompletedAt *time.Time `json:"completedAt,omitempty"`
	// ClusterUID is the UID of the source cluster's kube-system as the backup or its signed manifest says it; empty: neither does.
	ClusterUID string `json:"clusterUid,omitempty"`
	// Listing is "sha256:<hex>" over key, size, ETag and version of every object of the backup: what is used later is what was verified.
	Listing string `json:"listing,omitempty"`
	// Integrity is True (every digest equals the signed manifest), False or Unknown (no manifest).
	Integrity string `json:"integrity,omitempty"`
	// Objects in the tarball, Bytes in the bucket.
	Objects int   `json:"objects,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
	// Volumes, the first of them; VolumeCount is all. Moved is how many have their data in the bucket.
	Volumes     []BackupVolume `json:"volumes,omitempty"`
	VolumeCount int            `json:"volumeCount,omitempty"`
	Moved       int            `json:"moved,omitempty"`
	Findings    []Finding      `json:"findings,omitempty"`
	// Passed are later backups that did not verify, with why, the first of them; PassedCount is all.
	Passed      []string `json:"passed,omitempty"`
	PassedCount int      `json:"passedCount,omitempty"`
	TookMS      int64    `json:"tookMs,omitempty"`
}

// PassedOver is how many backups were passed over; runs of older versions have only the list.
func (b Backup) PassedOver() int {
	if b.PassedCount > 0 {
		return b.PassedCount
	}
	return len(b.Passed)
}

// Rehearsal is the section of backup's rehearse: what a restore would do on the target, before anything is created.
type Rehearsal struct {
	Waiting
	Phase   Phase  `json:"phase"` // Passed, Refused (a Stop finding and the plan says StopDrill), NotApplicable, Running
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Target  string `json:"target,omitempty"`
	// Asked is how many objects the API server was asked about by its own dry run, and in which namespace.
	Asked    int       `json:"asked,omitempty"`
	AskedIn  string    `json:"askedIn,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
}

// VeleroRestore is what Velero said of the Restore of this run.
type VeleroRestore struct {
	Name   string `json:"name"`
	Backup string `json:"backup"`
	// Phase is Velero's own.
	Phase         string     `json:"phase,omitempty"`
	StartedAt     *time.Time `json:"startedAt,omitempty"`
	CompletedAt   *time.Time `json:"completedAt,omitempty"`
	TotalItems    int        `json:"totalItems,omitempty"`
	ItemsRestored int        `json:"itemsRestored,omitempty"`
	Warnings      int        `json:"warnings,omitempty"`
	Errors        int        `json:"errors,omitempty"`
	HooksFailed   int        `json:"hooksFailed,omitempty"`
	// DataDownloads awaited and done: data movement from the bucket.
	DataDownloads     int `json:"dataDownloads,omitempty"`
	DataDownloadsDone int `json:"dataDownloadsDone,omitempty"`
	// Items are warnings and errors by item, the first of them.
	Items []string `json:"items,omitempty"`
	// Evidence holds all of them, in full, when Items are cut; ItemCount counts them.
	Evidence  *Evidence `json:"evidence,omitempty"`
	ItemCount int       `json:"itemCount,omitempty"`
}

// Check is one validation query on one pod.
type Check struct {
	Pod      string `json:"pod"`
	PodUID   string `json:"podUid"`
	Name     string `json:"name"`
	Expected string `json:"expected"`
	Got      string `json:"got"`
	OK       bool   `json:"ok"`
	TookMS   int64  `json:"tookMs"`
	// Kind is Smoke, RowCount, Checksum, Heartbeat or Canary; all but Smoke prove something about the data. Objective compares what was
	// measured with the plan's objective and proves nothing.
	Kind string `json:"kind,omitempty"`
}

// RestorePoint is what data came back from.
type RestorePoint struct {
	// Kind is OfBackup or OfSnapshot.
	Kind string `json:"kind"`
	// Name of the Velero Backup, or namespace/name of the VolumeSnapshot.
	Name string `json:"name"`
	// At is the time that the data is of: nothing that was written later need be in it.
	At time.Time `json:"at"`
}

// Kinds of a RestorePoint, as they are told.
const (
	OfBackup   = "backup"
	OfSnapshot = "snapshot"
)

// Gate is the section of gate.
type Gate struct {
	Waiting
	Phase   Phase  `json:"phase"` // Ready, NotReady, Running, Passed, Refused
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Server is what the database says of itself, e.g. "PostgreSQL 15.18".
	Server  string  `json:"server,omitempty"`
	Checks  []Check `json:"checks,omitempty"`
	ReadyMS int64   `json:"readyMs,omitempty"`
	// Stable names the pods that are being watched for stability (a digest of UIDs, restarts and readiness), StableSince since when.
	Stable      string     `json:"stable,omitempty"`
	StableSince *time.Time `json:"stableSince,omitempty"`
	// DataProved tells that a check other than a smoke query passed; without one nothing proved the data.
	DataProved bool `json:"dataProved,omitempty"`
	// HeartbeatAt is the newest heartbeat of the database that lags the most; RPOMS its age when the run was triggered, in milliseconds: the
	// measured RPO. HeartbeatPod is where it was read. All are empty when NotMeasured says why.
	HeartbeatAt  *time.Time `json:"heartbeatAt,omitempty"`
	HeartbeatPod string     `json:"heartbeatPod,omitempty"`
	RPOMS        *int64     `json:"rpoMs,omitempty"`
	// NotMeasured is why a heartbeat that was read measures no RPO: it is from after what the data was restored from.
	NotMeasured string `json:"notMeasured,omitempty"`
	// RestoredFrom is the oldest restore point of the data that was asked; nil when it is on the volumes that the workload had, or when it is
	// not known what it came from.
	RestoredFrom *RestorePoint `json:"restoredFrom,omitempty"`
	// PassedAt ends the RTO.
	PassedAt *time.Time `json:"passedAt,omitempty"`
}

// Undo is the section of rollback and of teardown.
type Undo struct {
	Waiting
	Phase   Phase  `json:"phase"` // Started, Running, Undone, NothingToUndo, Incomplete
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// DataRestored lists the claims whose data came back from a snapshot.
	DataRestored []string `json:"dataRestored,omitempty"`
	// PutBack are the changes that were undone, Left those that were not, each with the reason.
	PutBack []string `json:"putBack,omitempty"`
	Left    []string `json:"left,omitempty"`
}

// Report is the section of report.
type Report struct {
	Phase Phase `json:"phase"` // Written
	// URIs of the JSON, Markdown and HTML report.
	JSON     string `json:"json"`
	Markdown string `json:"markdown"`
	HTML     string `json:"html"`
	// Digest of the JSON report, "sha256:<hex>".
	Digest string `json:"digest"`
	// RTO and RPO are what was measured, against the plan's objectives; nil where nothing was.
	RTO *Verdict `json:"rto,omitempty"`
	RPO *Verdict `json:"rpo,omitempty"`
}

// Verdict is a measured figure against the plan's objective.
type Verdict struct {
	MeasuredMS int64 `json:"measuredMs"`
	// ObjectiveMS is 0, and Met nil, when the plan names none.
	ObjectiveMS int64 `json:"objectiveMs,omitempty"`
	Met         *bool `json:"met,omitempty"`
	// From tells what it was measured from.
	From string `json:"from,omitempty"`
}
