package undo_test

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/undo"
)

// imports brings snapshots of claims into the namespace, as a drill does.
func imports(t *testing.T, w *steptest.World, claims ...string) {
	t.Helper()
	for _, c := range claims {
		if _, err := snapshots.Import(t.Context(), w.Changer("Tier"), run.Snapshot{Claim: c, Handle: "h-" + c, Driver: "d"}, "shop"); err != nil {
			t.Fatal(err)
		}
	}
}

func deletes(w *steptest.World) []string {
	var out []string
	for _, a := range w.Writes() {
		if verb, what, _ := strings.Cut(a, " "); verb == "delete" {
			resource, name, _ := strings.Cut(what, " ")
			out = append(out, resource+" "+name[strings.LastIndex(name, "-")+1:])
		}
	}
	return out
}

// Contents go when their snapshots are gone, not in between.
func TestContentsGoAfterTheirSnapshots(t *testing.T) {
	w := world(t)
	imports(t, w, "a", "b")
	res, err := undo.Entries(t.Context(), undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}, nil)
	if err != nil || !res.Complete() {
		t.Fatalf("%+v, %v", res, err)
	}
	want := []string{"volumesnapshots b", "volumesnapshots a", "volumesnapshotcontents b", "volumesnapshotcontents a"}
	if got := deletes(w); !slices.Equal(got, want) {
		t.Errorf("deleted %v, want %v", got, want)
	}
}

// A snapshot that is not gone yet keeps its content; a claim that is not bound yet keeps its snapshot.
func TestWhatIsUsedWaits(t *testing.T) {
	for _, tc := range []struct {
		name  string
		phase string
		want  []string
	}{
		{"a claim that is being made", "Pending", nil},
		{"a claim that is bound", "Bound", []string{"volumesnapshots a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t)
			imports(t, w, "a")
			name := w.Run.ID + "-a"
			w.Put(cluster.PersistentVolumeClaims, "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a, namespace: shop}\nspec: {dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: "+
				name+"}}\nstatus: {phase: "+tc.phase+"}")
			// The snapshot has a finalizer: it stays.
			w.Fake.PrependReactor("delete", "volumesnapshots", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
			res, err := undo.Entries(t.Context(), undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback"), NoWait: true}, nil)
			if err != nil || len(res.Waiting) != 2 {
				t.Fatalf("%+v, %v", res, err)
			}
			if got := deletes(w); !slices.Equal(got, tc.want) {
				t.Errorf("deleted %v, want %v", got, tc.want)
			}
		})
	}
}
