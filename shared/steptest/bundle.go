package steptest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"fallbackchain.io/fallback/shared/inventory"
)

// BundleOf makes a bundle in memory that verifies against a world: captured an hour before Start from its cluster, one file for
// each YAML document. change may spoil the manifest or the files before they are opened; nil leaves them good.
func BundleOf(t testing.TB, snapshots []inventory.Snapshot, change func(*inventory.Manifest, fstest.MapFS), objects ...string) func() (*inventory.Bundle, error) {
	t.Helper()
	files := fstest.MapFS{}
	m := &inventory.Manifest{APIVersion: inventory.APIVersion, Kind: inventory.Kind, Namespace: "shop", StatefulSet: "pg", ClusterUID: ClusterUID,
		KubernetesVersion: Kubernetes, CapturedAt: Start.Add(-time.Hour), Snapshots: snapshots}
	if m.Snapshots == nil {
		m.Snapshots = []inventory.Snapshot{}
	}
	for i, o := range objects {
		path, sum := fmt.Sprintf("objects/%02d.yaml", i), sha256.Sum256([]byte(o))
		files[path] = &fstest.MapFile{Data: []byte(o)}
		m.Files = append(m.Files, inventory.File{Path: path, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(o))})
	}
	if change != nil {
		change(m, files)
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	files[inventory.ManifestFile] = &fstest.MapFile{Data: data}
	return func() (*inventory.Bundle, error) { return inventory.Open(files) }
}
