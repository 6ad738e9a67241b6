package inventory

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/signal"
)

var update = flag.Bool("update", false, "write the golden files")

var shop = Options{Namespace: "shop", StatefulSet: "shop-db", Now: clock,
	Controller: types.NamespacedName{Namespace: "kube-system", Name: "csi-controller"}}

var target = Target{ClusterUID: "11111111-2222-3333-4444-555555555555", KubernetesVersion: "v1.36.3-eks-1", Namespace: "shop", StatefulSet: "shop-db"}

func shopCluster(t testing.TB) *fakeCluster {
	t.Helper()
	text, err := os.ReadFile("testdata/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return newFake(t, string(text))
}

// captured captures the shop into a fresh directory.
func captured(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	if _, err := Capture(t.Context(), shopCluster(t), shop, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestCapture holds the whole bundle, file by file, against a golden file.
func TestCapture(t *testing.T) {
	dir := captured(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "=== %s\n%s", e.Name(), data)
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600: it may hold Secrets", e.Name(), info.Mode())
		}
	}
	golden(t, "testdata/bundle.golden", got.String())
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the bundle has mode %v, want 0700", info.Mode())
	}
	if r := VerifyDir(t.Context(), dir, noon.Add(time.Hour), target, 24*time.Hour); r.Status != signal.True {
		t.Errorf("a fresh bundle does not verify: %+v", r)
	}
}

func TestCaptureTwiceGivesTheSameBytes(t *testing.T) {
	read := func(dir string) string {
		data, err := os.ReadFile(filepath.Join(dir, ManifestFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if a, b := read(captured(t)), read(captured(t)); a != b {
		t.Errorf("two captures of the same cluster differ:\n%s\n%s", a, b)
	}
}

func TestObjectsComeInTheOrderOfDependency(t *testing.T) {
	b, err := OpenDir(captured(t))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	objects, findings := b.Objects(t.Context())
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	var got strings.Builder
	for _, o := range objects {
		got.WriteString(identity(o) + "\n")
	}
	golden(t, "testdata/order.golden", got.String())
	if s, ok := b.SnapshotFor("data-shop-db-0"); !ok || s.Handle != "snap-2" || s.Size != "10Gi" {
		t.Errorf("the snapshot of data-shop-db-0 is %+v", s)
	}
	if _, ok := b.SnapshotFor("data-shop-db-1"); ok {
		t.Error("a snapshot without content was taken")
	}
}

// TestCaptureFails: each failure names what failed, and leaves an earlier bundle as it was.
func TestCaptureFails(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("RBAC"))
	for name, c := range map[string]struct {
		change func(*fakeCluster, *Options)
		says   string
	}{
		"no StatefulSet":    {func(_ *fakeCluster, o *Options) { o.StatefulSet = "other" }, "there is no StatefulSet other"},
		"no namespace":      {func(_ *fakeCluster, o *Options) { o.Namespace = "other" }, `"other" not found`},
		"list refused":      {func(f *fakeCluster, _ *Options) { f.fails["list secrets"] = forbidden }, "list secrets: secrets is forbidden"},
		"identity refused":  {func(f *fakeCluster, _ *Options) { f.fails["get namespaces kube-system"] = forbidden }, "identity"},
		"discovery fails":   {func(f *fakeCluster, _ *Options) { f.fails["resources"] = errors.New("discovery is down") }, "discovery is down"},
		"version fails":     {func(f *fakeCluster, _ *Options) { f.fails["version"] = errors.New("no answer") }, "the cluster's version: no answer"},
		"no controller":     {func(_ *fakeCluster, o *Options) { o.Controller.Name = "gone" }, "Deployment kube-system/gone"},
		"class refused":     {func(f *fakeCluster, _ *Options) { f.fails["get storageclasses.storage.k8s.io fast"] = forbidden }, "StorageClass fast"},
		"snapshots refused": {func(f *fakeCluster, _ *Options) { f.fails["list volumesnapshots.snapshot.storage.k8s.io"] = forbidden }, "list VolumeSnapshots"},
		"namespace leaving": {func(f *fakeCluster, _ *Options) {
			now := noon.Format(time.RFC3339)
			f.objects[key(cluster.Namespaces, "", "shop")].Object["metadata"].(map[string]any)["deletionTimestamp"] = now
		}, "is being deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := captured(t)
			before, err := os.ReadFile(filepath.Join(dir, ManifestFile))
			if err != nil {
				t.Fatal(err)
			}
			f, o := shopCluster(t), shop
			c.change(f, &o)
			if _, err := Capture(t.Context(), f, o, dir); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error that says %q", err, c.says)
			}
			after, err := os.ReadFile(filepath.Join(dir, ManifestFile))
			if err != nil || string(after) != string(before) {
				t.Errorf("the earlier bundle was changed: %v", err)
			}
			siblings, err := os.ReadDir(filepath.Dir(dir))
			if err != nil || len(siblings) != 1 {
				t.Errorf("something was left beside the bundle: %v %v", siblings, err)
			}
		})
	}
}

func TestCaptureWithoutSnapshotAPI(t *testing.T) {
	f := shopCluster(t)
	for gvr := range f.resources {
		if gvr.Group == "snapshot.storage.k8s.io" {
			delete(f.resources, gvr)
		}
	}
	m, err := Capture(t.Context(), f, shop, filepath.Join(t.TempDir(), "b"))
	if err != nil || len(m.Snapshots) != 0 {
		t.Errorf("got %v and %v, want a bundle without snapshots", m, err)
	}
}

func TestCaptureReplacesABundleButNothingElse(t *testing.T) {
	dir := captured(t)
	if err := os.WriteFile(filepath.Join(dir, "stale.yaml"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Capture(t.Context(), shopCluster(t), shop, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stale.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file of the earlier bundle stayed: %v", err)
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "thesis.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Capture(t.Context(), shopCluster(t), shop, home); err == nil {
		t.Error("a directory that is no bundle was replaced")
	}
	if _, err := os.Stat(filepath.Join(home, "thesis.txt")); err != nil {
		t.Error(err)
	}
}

func TestFileNames(t *testing.T) {
	long := strings.Repeat("a", 253)
	f := newFake(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+long+", namespace: x}\n---\n"+
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: 'a:b', namespace: x}\n---\n"+
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: 'a/../b', namespace: x}")
	seen := map[string]bool{}
	for _, o := range f.objects {
		name := fileName(o)
		if len(name) > 255 || !fs.ValidPath(name) || strings.ContainsAny(name, "/:") || seen[name] {
			t.Errorf("%s has the file name %q", identity(o), name)
		}
		seen[name] = true
	}
}
