// Package backup reads Velero backups from where they are stored, without a cluster: which there are, whether one is whole and is what
// Velero wrote, which is the restore point of a run, and what is in it.
//
// The objects of a backup are those of Velero's object_store_layout.go
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/persistence/object_store_layout.go). Velero keeps no checksums: what a
// backup was when it completed is known from a manifest, signed with the plan's key (Seal).
package backup

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/backup/objectstore"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// The place that backups are read from is a package of its own, so that its S3 adapter links no Kubernetes code.
type (
	// Object is one object of the bucket.
	Object = objectstore.Object
	// Store is a place of backups: s3://bucket/prefix.
	Store = objectstore.Store
	// Sealing is a Store that manifests can be written to.
	Sealing = objectstore.Sealing
)

// Verifier checks a signature of a manifest; Signer makes one. Both are ECDSA on P-256 over SHA-256 of the data, DER-encoded.
type Verifier interface {
	// KeyID names the key in messages.
	KeyID() string
	Verify(ctx context.Context, data, signature []byte) error
}

// Signer signs manifests.
type Signer interface {
	Verifier
	Sign(ctx context.Context, data []byte) ([]byte, error)
}

// Summary is what velero-backup.json says of a backup.
type Summary struct {
	Name        string     `json:"name"`
	Phase       string     `json:"phase"`
	StartedAt   *time.Time `json:"startedAt,omitempty"`
	CompletedAt *time.Time `json:"completedAt,omitempty"`
	Expires     *time.Time `json:"expires,omitempty"`
	// Schedule is the Velero Schedule that took it; empty: on demand.
	Schedule string `json:"schedule,omitempty"`
	// Namespaces are those it includes; "*" or none is all.
	Namespaces []string `json:"namespaces,omitempty"`
	// KubernetesVersion of the source cluster, e.g. "v1.36.3"; VeleroFormat is Velero's format version.
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	VeleroFormat      string `json:"veleroFormat,omitempty"`
	// ClusterUID is the source cluster's kube-system UID where the backup says so (LabelCluster), else empty.
	ClusterUID string `json:"clusterUid,omitempty"`
	Items      int    `json:"items"`
	Errors     int    `json:"errors"`
	Warnings   int    `json:"warnings"`
	// Bytes of all objects, Sealed whether there is a manifest.
	Bytes  int64 `json:"bytes"`
	Sealed bool  `json:"sealed"`
}

// LabelCluster on a Velero Backup (or Schedule) holds the UID of the source cluster's kube-system Namespace.
const LabelCluster = "fallbackchain.io/cluster"

// Expectation is what a backup must fit. Empty fields are not compared, and are said to be unknown where that matters.
type Expectation struct {
	Namespace   string
	StatefulSet string
	// ClusterUID and KubernetesVersion of the target.
	ClusterUID        string
	KubernetesVersion string
	// MaxAge is the oldest that verifies; 0: not compared.
	MaxAge time.Duration
	Now    time.Time
	// ManifestRequired makes a missing manifest a Stop.
	ManifestRequired bool
	// Key verifies manifests; nil: there is no key, and integrity is Unknown.
	Key Verifier
}

// Verified is the verdict on one backup.
type Verified struct {
	Summary
	// Status is True, False (it was read and is wrong) or Unknown (it could not be read).
	Status  signal.Status `json:"status"`
	Reason  string        `json:"reason"`
	Message string        `json:"message"`
	// Integrity is True when every object equals the signed manifest.
	Integrity signal.Status      `json:"integrity"`
	Findings  []run.Finding      `json:"findings,omitempty"`
	Volumes   []run.BackupVolume `json:"volumes,omitempty"`
	// Objects of the backup's tarball.
	Objects int `json:"objects"`
	// Listing is "sha256:<hex>" over key, size, ETag and version of every object of the backup.
	Listing string `json:"listing"`
}

// Choice is a restore point.
type Choice struct {
	Verified
	// How is latest, named or random.
	How string
	// Passed are later (or drawn) backups that did not verify, with why, the first of each kind; then lines that count the rest. PassedCount
	// is how many backups they are.
	Passed      []string
	PassedCount int
}

// Contents is what a verified backup holds of one namespace.
type Contents struct {
	Summary
	// Objects as they are in the tarball (preferred API version), cluster-scoped ones included.
	Objects []*unstructured.Unstructured
	Volumes []run.BackupVolume
	// Listing as in Verified.
	Listing string

	// taken is when each claim's snapshot was taken.
	taken map[string]time.Time
}
