// Package plan holds the FallbackPlan: the configuration of one workload's chain. This file is the schema; parsing,
// defaults, validation and the JSON Schema stand beside it.
package plan

// APIVersion and Kind of a plan.
const (
	APIVersion = "fallbackchain.io/v1alpha1"
	Kind       = "FallbackPlan"
)

// Plan is one workload's fallback chain.
type Plan struct {
	APIVersion string   `yaml:"apiVersion" json:"apiVersion"`
	Kind       string   `yaml:"kind" json:"kind"`
	Metadata   Metadata `yaml:"metadata" json:"metadata"`
	Spec       Spec     `yaml:"spec" json:"spec"`
}

// Metadata names the plan.
type Metadata struct {
	// Name is a DNS-1123 label; it is part of execution names, lease names and drill namespaces (at most 30 characters).
	Name string `yaml:"name" json:"name"`
}

// Spec is the plan proper.
type Spec struct {
	Workload Workload `yaml:"workload" json:"workload"`
	Cluster  Cluster  `yaml:"cluster" json:"cluster"`
	// Inventory is what should exist. Without it there is no ControlPlaneReconcile and no drill.
	Inventory *Inventory `yaml:"inventory,omitempty" json:"inventory,omitempty"`
	Volumes   Volumes    `yaml:"volumes,omitempty" json:"volumes,omitzero"`
	Tiers     Tiers      `yaml:"tiers,omitempty" json:"tiers,omitzero"`
	// APIServerWait is how long an assessment waits for an API server that does not answer.
	APIServerWait Duration   `yaml:"apiServerWait,omitempty" json:"apiServerWait,omitzero"`
	Gate          Gate       `yaml:"gate,omitempty" json:"gate,omitzero"`
	Quarantine    Quarantine `yaml:"quarantine,omitempty" json:"quarantine,omitzero"`
	Drill         Drill      `yaml:"drill,omitempty" json:"drill,omitzero"`
	Rollback      Rollback   `yaml:"rollback,omitempty" json:"rollback,omitzero"`
	// Pause names the owners that must be paused before a scale-down, and how.
	Pause      []PauseOwner `yaml:"pause,omitempty" json:"pause,omitempty"`
	Objectives Objectives   `yaml:"objectives,omitempty" json:"objectives,omitzero"`
	Schedule   Schedule     `yaml:"schedule,omitempty" json:"schedule,omitzero"`
	Triggers   Triggers     `yaml:"triggers,omitempty" json:"triggers,omitzero"`
	Notify     Notify       `yaml:"notify,omitempty" json:"notify,omitzero"`
}

// Workload is what is recovered.
type Workload struct {
	// Namespace that the workload runs in.
	Namespace string `yaml:"namespace" json:"namespace"`
	// StatefulSet of the database.
	StatefulSet string   `yaml:"statefulSet" json:"statefulSet"`
	Database    Database `yaml:"database" json:"database"`
}

// Engine of the database.
type Engine string

// PostgreSQL is validated by BEGIN READ ONLY, MySQL and MariaDB (engine mysql) by START TRANSACTION READ ONLY.
const (
	PostgreSQL Engine = "postgresql"
	MySQL      Engine = "mysql"
)

// Database is how the gate reaches and asks the workload's database.
type Database struct {
	Engine Engine `yaml:"engine" json:"engine"`
	// Port of the database in the pod.
	Port int `yaml:"port" json:"port"`
	// Name of the database to connect to.
	Name        string      `yaml:"name" json:"name"`
	Credentials Credentials `yaml:"credentials" json:"credentials"`
	// Pod tells which pods validate: "primary" (the one pod that is no replica), "each", or an ordinal ("0").
	Pod string `yaml:"pod,omitempty" json:"pod,omitempty"`
	// StatementTimeout bounds each statement on the server.
	StatementTimeout Duration `yaml:"statementTimeout,omitempty" json:"statementTimeout,omitzero"`
	// TLS tells whether the connection is encrypted. The way to the pod is the Kubernetes API's own, so the server's certificate is not
	// verified.
	TLS     TLSMode `yaml:"tls,omitempty" json:"tls,omitempty"`
	Queries []Query `yaml:"queries" json:"queries"`
	// Heartbeat tells how old the newest row is: the measured RPO.
	Heartbeat *Heartbeat `yaml:"heartbeat,omitempty" json:"heartbeat,omitempty"`
	// Canary is a value that must come back byte by byte.
	Canary *Canary `yaml:"canary,omitempty" json:"canary,omitempty"`
}

// TLSMode is whether the gate's connection is encrypted.
type TLSMode string

const (
	// TLSPrefer: when the server offers it. TLSRequire: or there is no connection.
	TLSPrefer  TLSMode = "Prefer"
	TLSRequire TLSMode = "Require"
)

// Heartbeat is a query for the time of the newest row that the workload writes regularly.
type Heartbeat struct {
	// SQL returns one row with one column: a time with its zone, a time in UTC, or seconds since 1970.
	SQL string `yaml:"sql" json:"sql"`
}

// Canary is a query for a known value. The value is in no report: only its digest is compared and named.
type Canary struct {
	// SQL returns one row with one column.
	SQL string `yaml:"sql" json:"sql"`
	// SHA256 is the value's digest as 64 hex digits, of the bytes as the server sends them as text.
	SHA256 string `yaml:"sha256" json:"sha256"`
}

// Credentials are named, never written into the plan. Exactly one of its fields is set.
type Credentials struct {
	Secret *SecretRef `yaml:"secret,omitempty" json:"secret,omitempty"`
	// Environment names two variables of the process that runs the gate.
	Environment *EnvironmentRef `yaml:"environment,omitempty" json:"environment,omitempty"`
	// SecretsManager is a secret of AWS Secrets Manager whose value is a JSON object, as RDS writes it.
	SecretsManager *SecretsManagerRef `yaml:"secretsManager,omitempty" json:"secretsManager,omitempty"`
}

// SecretsManagerRef names a secret in AWS Secrets Manager.
type SecretsManagerRef struct {
	// ID is the secret's name or ARN.
	ID string `yaml:"id" json:"id"`
	// Region of the secret; empty: that of the ARN, else that of the process.
	Region      string `yaml:"region,omitempty" json:"region,omitempty"`
	UsernameKey string `yaml:"usernameKey,omitempty" json:"usernameKey,omitempty"`
	PasswordKey string `yaml:"passwordKey,omitempty" json:"passwordKey,omitempty"`
}

// SecretRef is a Kubernetes Secret in the namespace that is validated (the drill's own copy in a drill).
type SecretRef struct {
	Name        string `yaml:"name" json:"name"`
	UsernameKey string `yaml:"usernameKey,omitempty" json:"usernameKey,omitempty"`
	PasswordKey string `yaml:"passwordKey,omitempty" json:"passwordKey,omitempty"`
}

// EnvironmentRef names environment variables.
type EnvironmentRef struct {
	Username string `yaml:"username" json:"username"`
	Password string `yaml:"password" json:"password"`
}

// QueryKind is what a query says of the data.
type QueryKind string

const (
	// SmokeQuery shows that the schema is there and answers; it proves nothing about the rows.
	SmokeQuery QueryKind = "Smoke"
	// RowCountQuery and ChecksumQuery speak of the rows themselves: a whole number that an empty table does not meet, and a text that must be
	// equal.
	RowCountQuery QueryKind = "RowCount"
	ChecksumQuery QueryKind = "Checksum"
)

// Query is one validation query: one row, one column, compared as text or number.
type Query struct {
	// Name of the query in reports, its own within the plan.
	Name string `yaml:"name" json:"name"`
	// Kind is Smoke unless the query proves something about the data. A recovered workload whose plan has no query of another kind, no
	// heartbeat and no canary is reported as one whose data nothing proved.
	Kind QueryKind `yaml:"kind,omitempty" json:"kind,omitempty"`
	// SQL runs in a read-only transaction and returns one row with one column.
	SQL    string `yaml:"sql" json:"sql"`
	Expect Expect `yaml:"expect" json:"expect"`
}

// Expect is a query's expectation. Exactly one field is set.
type Expect struct {
	Equals  *string  `yaml:"equals,omitempty" json:"equals,omitempty"`
	AtLeast *float64 `yaml:"atLeast,omitempty" json:"atLeast,omitempty"`
	AtMost  *float64 `yaml:"atMost,omitempty" json:"atMost,omitempty"`
	// Matches is a regular expression (RE2) that the whole text must match.
	Matches *string `yaml:"matches,omitempty" json:"matches,omitempty"`
}

// Cluster is where the workload runs. Exactly one field is set.
type Cluster struct {
	EKS        *EKS        `yaml:"eks,omitempty" json:"eks,omitempty"`
	Kubeconfig *Kubeconfig `yaml:"kubeconfig,omitempty" json:"kubeconfig,omitempty"`
}

// EKS is a managed cluster.
type EKS struct {
	Name   string `yaml:"name" json:"name"`
	Region string `yaml:"region" json:"region"`
}

// Kubeconfig is a cluster reached through a file. A relative path is relative to the plan.
type Kubeconfig struct {
	Path    string `yaml:"path" json:"path"`
	Context string `yaml:"context,omitempty" json:"context,omitempty"`
}

// Inventory is the verified source of what should exist. Exactly one of manifests and velero is set.
type Inventory struct {
	Manifests *ManifestBundle `yaml:"manifests,omitempty" json:"manifests,omitempty"`
	Velero    *Velero         `yaml:"velero,omitempty" json:"velero,omitempty"`
	// MaxAge is the oldest inventory that still verifies. For a Velero backup that is chosen as the latest, objectives.rpo bounds the age
	// as well.
	MaxAge Duration `yaml:"maxAge,omitempty" json:"maxAge,omitzero"`
}

// Velero says where the workload's Velero backups are, which of them is restored, and what must be known before.
type Velero struct {
	// Location is s3://bucket/prefix, as in the BackupStorageLocation: the backups are below it in backups/.
	Location string `yaml:"location" json:"location"`
	// Region of the bucket; empty: that of the process.
	Region string `yaml:"region,omitempty" json:"region,omitempty"`
	// Endpoint is the URL of an S3-compatible server, addressed by path; empty: AWS.
	Endpoint string `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
	// CredentialsFile is in the format of AWS's shared credentials file (profile default), relative to the plan; empty: the process's
	// own credentials, which is the only way in a function.
	CredentialsFile string `yaml:"credentialsFile,omitempty" json:"credentialsFile,omitempty"`
	// Namespace that Velero runs in, StorageLocation its BackupStorageLocation for Location.
	Namespace       string `yaml:"namespace,omitempty" json:"namespace,omitempty"`
	StorageLocation string `yaml:"storageLocation,omitempty" json:"storageLocation,omitempty"`
	// Schedule takes only the backups of this Velero Schedule; empty: every backup that includes the workload's namespace.
	Schedule     string       `yaml:"schedule,omitempty" json:"schedule,omitempty"`
	RestorePoint RestorePoint `yaml:"restorePoint,omitempty" json:"restorePoint,omitzero"`
	Integrity    Integrity    `yaml:"integrity,omitempty" json:"integrity,omitzero"`
	// Rehearsal tells what the findings of the restore's dry run do to a drill.
	Rehearsal RehearsalPolicy `yaml:"rehearsal,omitempty" json:"rehearsal,omitempty"`
}

// RestorePoint chooses the backup; at most one field is set. Without any it is the latest that verifies.
type RestorePoint struct {
	// Backup is the name of one.
	Backup string `yaml:"backup,omitempty" json:"backup,omitempty"`
	// RandomWithin takes any backup that is not older than this, by the run's ID.
	RandomWithin Duration `yaml:"randomWithin,omitempty" json:"randomWithin,omitzero"`
}

// Integrity is how a backup is known to be what Velero wrote: a signed manifest with the digest of every object, written when the
// backup completed.
type Integrity struct {
	// Key signs and verifies manifests: the ARN of an asymmetric KMS key (ECC_NIST_P256, SIGN_VERIFY), or a PEM file (an EC private key
	// on P-256, or its public key where manifests are only verified), relative to the plan.
	Key string `yaml:"key,omitempty" json:"key,omitempty"`
	// Manifest tells whether a backup without a manifest stops a drill.
	Manifest ManifestPolicy `yaml:"manifest,omitempty" json:"manifest,omitempty"`
}

// ManifestPolicy is what a missing manifest means.
type ManifestPolicy string

const (
	// ManifestOptional: integrity is Unknown without one, and the run goes on. ManifestRequired: it does not.
	ManifestOptional ManifestPolicy = "Optional"
	ManifestRequired ManifestPolicy = "Required"
)

// RehearsalPolicy is what a finding of the restore's dry run does.
type RehearsalPolicy string

const (
	RehearsalStops   RehearsalPolicy = "StopDrill"
	RehearsalReports RehearsalPolicy = "ReportOnly"
)

// ManifestBundle is a directory or S3 prefix with bundle.json (digests, cluster identity) beside the manifests.
type ManifestBundle struct {
	// Path is relative to the plan when it is not absolute; s3://bucket/prefix in AWS.
	Path string `yaml:"path" json:"path"`
}

// Volumes says where the CSI driver's controller can be seen.
type Volumes struct {
	// Controller is the Deployment of the driver's controller; without it the driver's health is judged by CSIDriver and
	// CSINode alone and the signal's message says so.
	Controller *DeploymentRef `yaml:"controller,omitempty" json:"controller,omitempty"`
}

// DeploymentRef names a Deployment.
type DeploymentRef struct {
	Namespace string `yaml:"namespace" json:"namespace"`
	Name      string `yaml:"name" json:"name"`
}

// Tiers configures each tier.
type Tiers struct {
	VolumeAttachmentSync  VolumeAttachmentSync  `yaml:"volumeAttachmentSync,omitempty" json:"volumeAttachmentSync,omitzero"`
	ControlPlaneReconcile ControlPlaneReconcile `yaml:"controlPlaneReconcile,omitempty" json:"controlPlaneReconcile,omitzero"`
	DegradedStatefulSet   DegradedStatefulSet   `yaml:"degradedStatefulSet,omitempty" json:"degradedStatefulSet,omitzero"`
	// FailedSchedulingPersistence is how long a FailedScheduling must last before it counts as not recoverable.
	FailedSchedulingPersistence Duration `yaml:"failedSchedulingPersistence,omitempty" json:"failedSchedulingPersistence,omitzero"`
}

// VolumeAttachmentSync is the tier that mends attachments.
type VolumeAttachmentSync struct {
	// Enabled defaults to true.
	Enabled *bool    `yaml:"enabled,omitempty" json:"enabled,omitempty"`
	Budget  Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
	// StuckAfter is how long an attach or detach may be under way before it counts as stuck.
	StuckAfter Duration `yaml:"stuckAfter,omitempty" json:"stuckAfter,omitzero"`
}

// ControlPlaneReconcile is the tier that brings back objects.
type ControlPlaneReconcile struct {
	Enabled *bool    `yaml:"enabled,omitempty" json:"enabled,omitempty"`
	Budget  Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
	// Overwrite allows to change objects that exist with other content.
	Overwrite bool `yaml:"overwrite,omitempty" json:"overwrite,omitempty"`
}

// DegradedStatefulSet is the tier that runs one replica in quarantine.
type DegradedStatefulSet struct {
	Enabled *bool    `yaml:"enabled,omitempty" json:"enabled,omitempty"`
	Budget  Duration `yaml:"budget,omitempty" json:"budget,omitzero"`
	// Relax says what may be given up so that the one replica is scheduled.
	Relax Relax `yaml:"relax,omitempty" json:"relax,omitzero"`
}

// Relax says what the degraded replica gives up.
type Relax struct {
	NodeSelector   bool `yaml:"nodeSelector,omitempty" json:"nodeSelector,omitempty"`
	Affinity       bool `yaml:"affinity,omitempty" json:"affinity,omitempty"`
	TopologySpread bool `yaml:"topologySpread,omitempty" json:"topologySpread,omitempty"`
	TolerateAll    bool `yaml:"tolerateAll,omitempty" json:"tolerateAll,omitempty"`
	// CPU and Memory replace the requests of every container, as Kubernetes quantities; limits below them are raised.
	CPU    string `yaml:"cpu,omitempty" json:"cpu,omitempty"`
	Memory string `yaml:"memory,omitempty" json:"memory,omitempty"`
}

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
	// RestoreBudget and TeardownBudget are the time for bringing everything into the drill namespace and for removing it.
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

// TierEnabled tells whether a tier's enabled field lets it run: it does unless it says false.
func TierEnabled(b *bool) bool { return b == nil || *b }
