package backups

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/velero"
)

// surroundings are everything that a drill may touch outside of production: cluster-scoped objects, what is in Velero's namespace, what the
// storage holds, and what is in the bucket below restores/.
func (w *world) surroundings(t *testing.T) []string {
	t.Helper()
	var out []string
	add := func(gvr schema.GroupVersionResource, namespace string) {
		l, err := w.Client.Dynamic.Resource(gvr).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range l.Items {
			if u.GetName() == lease.Namespace {
				continue // the first run makes it, and it stays
			}
			out = append(out, gvr.Resource+" "+strings.TrimPrefix(u.GetNamespace()+"/"+u.GetName(), "/")+state(&u))
		}
	}
	for _, gvr := range []schema.GroupVersionResource{cluster.Namespaces, cluster.PersistentVolumes, cluster.VolumeSnapshotContents, cluster.StorageClasses} {
		add(gvr, "")
	}
	for _, gvr := range []schema.GroupVersionResource{velero.Restores, velero.DataDownloads, velero.PodVolumeRestores, velero.Backups, cluster.ConfigMaps, cluster.Secrets} {
		add(gvr, stack.VeleroNamespace)
	}
	for _, dir := range []string{csidriver.VolumesDir(w.Stack.Layout().CSIState()), filepath.Join(w.Stack.Layout().CSIState(), "snapshots")} {
		es, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range es {
			out = append(out, filepath.Base(dir)+" on disk "+e.Name())
		}
	}
	out = append(out, w.objects(t, "restores/")...)
	slices.Sort(out)
	return out
}

// objects are the keys in the bucket below a prefix.
func (w *world) objects(t *testing.T, prefix string) []string {
	t.Helper()
	store, _ := w.place(t, w.Sample.VeleroPlan)
	all, err := store.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range all {
		out = append(out, o.Key)
	}
	return out
}

// state is what must not change about an object whose name stays.
func state(u *unstructured.Unstructured) string {
	text, _, _ := unstructured.NestedString(u.Object, "spec", "deletionPolicy")
	if handle, _, _ := unstructured.NestedString(u.Object, "status", "snapshotHandle"); handle != "" {
		text += " of " + handle
	}
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// bucket is a file of the S3 server.
func (w *world) bucket(below ...string) string {
	return filepath.Join(append([]string{w.Stack.Layout().Dir, "s3", "objects", stack.Bucket, w.Stack.Backups().Prefix}, below...)...)
}

// guard remembers everything that a drill must leave alone, and checks it when the returned function is called.
func (w *world) guard(t *testing.T) (check func(ids ...string)) {
	t.Helper()
	w.settle(t, sample.Namespace)
	production, around := w.Versions(t, sample.Namespace), w.surroundings(t)
	if len(production) < 15 || len(around) < 10 {
		t.Fatalf("only %d and %d objects are compared", len(production), len(around))
	}
	return func(ids ...string) {
		t.Helper()
		if after := w.Versions(t, sample.Namespace); !maps.Equal(production, after) {
			t.Errorf("production was touched:\n%s", difference(flat(production), flat(after)))
		}
		if after := w.surroundings(t); !slices.Equal(around, after) {
			t.Errorf("something is left, or is gone:\n%s", difference(around, after))
		}
		for _, id := range ids {
			if left := w.Leftovers(t, id); len(left) > 0 {
				t.Errorf("left behind by %s: %v", id, left)
			}
		}
		s, err := lease.Holder(t.Context(), w.Client, lease.Name(sample.Namespace, sample.StatefulSet))
		if err != nil || s.Holder != "" {
			t.Errorf("%q holds the lease (%v)", s.Holder, err)
		}
	}
}

func flat(m map[string]string) []string {
	var out []string
	for k, v := range m {
		out = append(out, k+" "+v)
	}
	slices.Sort(out)
	return out
}

func difference(before, after []string) string {
	var b strings.Builder
	for _, s := range before {
		if !slices.Contains(after, s) {
			b.WriteString("- " + s + "\n")
		}
	}
	for _, s := range after {
		if !slices.Contains(before, s) {
			b.WriteString("+ " + s + "\n")
		}
	}
	return b.String()
}
