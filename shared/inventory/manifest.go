// Package inventory holds the verified source of what should exist: the manifest bundle, a directory (or any other file
// system) with bundle.json and one Kubernetes object in each YAML file beside it. Capture writes a bundle from the live
// cluster, Verify tells whether a bundle can be trusted, Objects returns what it holds in the order of dependency.
package inventory

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/version"
)

// APIVersion and Kind of bundle.json, and its name.
const (
	APIVersion   = "fallbackchain.io/v1alpha1"
	Kind         = "ManifestBundle"
	ManifestFile = "bundle.json"
)

// Bounds of a bundle. An object cannot be larger than what etcd takes (1.5 MiB by default,
// https://etcd.io/docs/v3.6/dev-guide/limit/), with room for YAML's indentation.
const (
	FileLimit     = 4 << 20
	TotalLimit    = 64 << 20
	CountLimit    = 5000
	ManifestLimit = 2 << 20
)

// Manifest is bundle.json.
type Manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Namespace and StatefulSet are the workload that was captured.
	Namespace   string `json:"namespace"`
	StatefulSet string `json:"statefulSet"`
	// ClusterUID is the UID of the kube-system Namespace: the identity of the cluster it was captured from.
	ClusterUID string `json:"clusterUID"`
	// KubernetesVersion of that cluster, e.g. "v1.36.3".
	KubernetesVersion string     `json:"kubernetesVersion"`
	CapturedAt        time.Time  `json:"capturedAt"`
	Files             []File     `json:"files"`
	Snapshots         []Snapshot `json:"snapshots"`
}

// File is one file of the bundle.
type File struct {
	// Path is relative to the bundle, with slashes.
	Path string `json:"path"`
	// SHA256 of the file's bytes in lower-case hex.
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// Snapshot is the newest ready VolumeSnapshot of a claim at the time of the capture.
type Snapshot struct {
	Claim  string `json:"claim"`
	Driver string `json:"driver"`
	// Handle is the storage system's own ID of the snapshot.
	Handle string `json:"handle"`
	// Size is the least size of a volume restored from it, as a Kubernetes quantity; empty when the driver does not say.
	Size    string    `json:"size,omitempty"`
	TakenAt time.Time `json:"takenAt"`
}

// SnapshotFor returns the snapshot of a claim.
func (m *Manifest) SnapshotFor(claim string) (Snapshot, bool) {
	for _, s := range m.Snapshots {
		if s.Claim == claim {
			return s, true
		}
	}
	return Snapshot{}, false
}

// ParseManifest reads bundle.json strictly and reports every mistake at once.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > ManifestLimit {
		return nil, fmt.Errorf("%s has %d bytes, expected at most %d", ManifestFile, len(data), ManifestLimit)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: has something after its object", ManifestFile)
	}
	if err := m.validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

func (m *Manifest) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(ManifestFile+": "+format, args...))
	}
	if m.APIVersion != APIVersion || m.Kind != Kind {
		bad("is %q %q, expected %s %s", m.APIVersion, m.Kind, APIVersion, Kind)
		return errors.Join(errs...)
	}
	if m.Namespace == "" {
		bad("namespace is empty, expected the workload's namespace")
	}
	if m.StatefulSet == "" {
		bad("statefulSet is empty, expected the workload's StatefulSet")
	}
	if m.ClusterUID == "" {
		bad("clusterUID is empty, expected the UID of kube-system")
	}
	if _, err := version.ParseGeneric(m.KubernetesVersion); err != nil {
		bad("kubernetesVersion is %q, expected a version such as v1.36.3", m.KubernetesVersion)
	}
	if m.CapturedAt.IsZero() {
		bad("capturedAt is missing")
	}
	if len(m.Files) == 0 || len(m.Files) > CountLimit {
		bad("lists %d files, expected 1 to %d", len(m.Files), CountLimit)
	}
	m.validateFiles(bad)
	m.validateSnapshots(bad)
	return errors.Join(errs...)
}

func (m *Manifest) validateFiles(bad func(string, ...any)) {
	seen := map[string]bool{}
	var total int64
	for i, f := range m.Files {
		if !fs.ValidPath(f.Path) || f.Path == "." || strings.Contains(f.Path, `\`) {
			bad("files[%d].path is %q, expected a path inside the bundle", i, f.Path)
		} else if !strings.HasSuffix(f.Path, ".yaml") {
			bad("files[%d].path is %q, expected a .yaml file", i, f.Path)
		}
		if seen[f.Path] {
			bad("files[%d].path %q is given twice", i, f.Path)
		}
		seen[f.Path] = true
		if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != 32 || strings.ToLower(f.SHA256) != f.SHA256 {
			bad("files[%d].sha256 is %q, expected 64 lower-case hex digits", i, f.SHA256)
		}
		if f.Bytes < 1 || f.Bytes > FileLimit {
			bad("files[%d].bytes is %d, expected 1 to %d", i, f.Bytes, FileLimit)
			continue
		}
		total += f.Bytes
	}
	if total > TotalLimit {
		bad("the files have %d bytes together, expected at most %d", total, TotalLimit)
	}
}

func (m *Manifest) validateSnapshots(bad func(string, ...any)) {
	seen := map[string]bool{}
	if len(m.Snapshots) > CountLimit {
		bad("lists %d snapshots, expected at most %d", len(m.Snapshots), CountLimit)
		return
	}
	for i, s := range m.Snapshots {
		if s.Claim == "" || s.Driver == "" || s.Handle == "" || s.TakenAt.IsZero() {
			bad("snapshots[%d] lacks its claim, driver, handle or takenAt", i)
		}
		if seen[s.Claim] {
			bad("snapshots[%d].claim %q is given twice", i, s.Claim)
		}
		seen[s.Claim] = true
		if s.Size != "" {
			if q, err := resource.ParseQuantity(s.Size); err != nil || q.Sign() <= 0 {
				bad("snapshots[%d].size is %q, expected a quantity such as 10Gi", i, s.Size)
			}
		}
	}
}

// Encode writes bundle.json; the same manifest gives the same bytes.
func (m *Manifest) Encode() ([]byte, error) {
	out, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}
