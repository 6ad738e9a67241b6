package plan

// Gate bounds the application validation gate.
type Gate struct {
	// Stability is how long the pods must stay ready without a restart before the database is asked.
	Stability Duration `yaml:"stability,omitempty" json:"stability,omitzero"`
	// Budget is how long the workload may take to become ready and stable, and to answer.
	Budget Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
}

// QuarantineLevel is how far isolation is proved.
type QuarantineLevel string

const (
	// LevelApplied: every policy was read back and their union opens nothing.
	LevelApplied QuarantineLevel = "Applied"
	// LevelEnforced: a probe from inside failed to get out while its control succeeded.
	LevelEnforced QuarantineLevel = "Enforced"
)

// Quarantine is the isolation of what is restored or degraded.
type Quarantine struct {
	Level QuarantineLevel `yaml:"level,omitempty" json:"level,omitempty"`
	// Peers are what the workload may still talk to, in both directions.
	Peers []Peer `yaml:"peers,omitempty" json:"peers,omitempty"`
	// Probes are addresses that a pod inside must fail to reach ("host:port"); wanted for Enforced.
	Probes []string `yaml:"probes,omitempty" json:"probes,omitempty"`
	// ProbeImage is the image of the probe pod: it needs sh, nslookup and nc.
	ProbeImage string   `yaml:"probeImage,omitempty" json:"probeImage,omitempty"`
	Budget     Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
}

// Peer is one allowed peer of the quarantine.
type Peer struct {
	CIDR string `yaml:"cidr" json:"cidr"`
	// Ports are TCP ports; none means all.
	Ports []int `yaml:"ports,omitempty" json:"ports,omitempty"`
}

// Drill bounds a drill.
type Drill struct {
	// RestoreBudget and TeardownBudget are the time for bringing everything into the drill namespace and for removing it. Leave the removal
	// more than the five minutes after which external-provisioner takes back a finalizer that it left on a snapshot
	// (--snapshot-orphan-sweep-interval).
	RestoreBudget  Duration `yaml:"restoreBudget,omitempty" json:"restoreBudget,omitzero"`
	TeardownBudget Duration `yaml:"teardownBudget,omitempty" json:"teardownBudget,omitzero"`
}

// SnapshotSource tells where the rollback's snapshots come from.
type SnapshotSource string

const (
	// SnapshotsFresh: the rollback point takes them before the first change.
	SnapshotsFresh SnapshotSource = "Fresh"
	// SnapshotsExisting: the newest ready ones that the selector finds.
	SnapshotsExisting SnapshotSource = "Existing"
)

// Rollback says what happens when the gate says no.
type Rollback struct {
	Snapshots RollbackSnapshots `yaml:"snapshots,omitempty" json:"snapshots,omitzero"`
	// ScaleBack returns the StatefulSet to its replicas after the data was put back. Defaults to true.
	ScaleBack *bool    `yaml:"scaleBack,omitempty" json:"scaleBack,omitempty"`
	Budget    Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
}

// RollbackSnapshots chooses the snapshots.
type RollbackSnapshots struct {
	Source SnapshotSource `yaml:"source,omitempty" json:"source,omitempty"`
	// Selector are the labels of existing VolumeSnapshots; empty takes every ready one of the claim.
	Selector map[string]string `yaml:"selector,omitempty" json:"selector,omitempty"`
	// Class is the VolumeSnapshotClass of fresh ones; empty takes the driver's default class.
	Class string `yaml:"class,omitempty" json:"class,omitempty"`
}

// PauseOwner names something that would scale the StatefulSet back up, and how it is paused: a merge patch that is applied
// and later undone with the before-image.
type PauseOwner struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`
	Namespace  string `yaml:"namespace,omitempty" json:"namespace,omitempty"`
	Name       string `yaml:"name" json:"name"`
	// Patch is a JSON merge patch, e.g. {"spec":{"suspend":true}}.
	Patch string `yaml:"patch" json:"patch"`
}

// Objectives are what a run is measured against.
type Objectives struct {
	RTO Duration `yaml:"rto,omitempty" json:"rto,omitzero"`
	RPO Duration `yaml:"rpo,omitempty" json:"rpo,omitzero"`
}

// Schedule is when EventBridge Scheduler starts runs, in its own expressions (rate(...), cron(...), at(...)).
type Schedule struct {
	Drill    string `yaml:"drill,omitempty" json:"drill,omitempty"`
	Evaluate string `yaml:"evaluate,omitempty" json:"evaluate,omitempty"`
	// TimeZone is an IANA name; UTC when empty.
	TimeZone string `yaml:"timeZone,omitempty" json:"timeZone,omitempty"`
}

// Triggers damp what starts runs.
type Triggers struct {
	// HoldDown is how long an alarm must persist before a recover begins; the alarm is read again after it.
	HoldDown Duration `yaml:"holdDown,omitempty" json:"holdDown,omitzero"`
	// CoolDown is the least time between the end of this plan's last changing run and the next one by alarm.
	CoolDown Duration `yaml:"coolDown,omitempty" json:"coolDown,omitzero"`
}

// Notify says who hears of a run that did not recover.
type Notify struct {
	SNSTopicARN string `yaml:"snsTopicArn,omitempty" json:"snsTopicArn,omitempty"`
}
