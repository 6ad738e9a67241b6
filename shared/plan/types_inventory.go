package plan

// Inventory is the verified source of what should exist. Exactly one of manifests and velero is set.
type Inventory struct {
	Manifests *ManifestBundle `yaml:"manifests,omitempty" json:"manifests,omitempty"`
	Velero    *Velero         `yaml:"velero,omitempty" json:"velero,omitempty"`
	// MaxAge is the oldest inventory that still verifies. For a Velero backup that is chosen as the latest, objectives.rpo bounds the age
	// as well in a drill and an evaluate, which prove the objective. A recover takes the newest that verifies, and says how far it misses.
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
