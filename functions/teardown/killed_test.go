package teardown_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/functions/quarantine"
	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/functions/teardown"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const statefulSet = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, namespace: shop}
spec:
  replicas: 1
  template: {spec: {containers: [{name: pg, image: postgres}]}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: kept, resources: {requests: {storage: 1Gi}}}`

func killedWorld(t *testing.T) *steptest.World {
	t.Helper()
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	p.Spec.Inventory = &plan.Inventory{Manifests: &plan.ManifestBundle{Path: "bundle"}}
	p.Spec.Quarantine.Level = plan.LevelApplied
	w := steptest.New(t, run.Drill, p,
		"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: kept}\nprovisioner: csi.example\nreclaimPolicy: Retain",
		"apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: s, namespace: shop}\nspec: {source: {persistentVolumeClaimName: data-pg-0}}\nstatus: {readyToUse: true, boundVolumeSnapshotContentName: c}",
		"apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {name: c}\nspec: {driver: csi.example}\nstatus: {snapshotHandle: h}")
	w.Bundle = steptest.BundleOf(t, nil, nil, statefulSet, "apiVersion: v1\nkind: Secret\nmetadata: {name: pg, namespace: shop}")
	return w
}

// drill isolates, restores and, when both were possible, begins the teardown.
func drill(t *testing.T, w *steptest.World) error {
	q := &quarantine.Handler{Env: w.Env}
	for _, op := range []string{"apply", "check"} {
		out, err := q.Handle(t.Context(), op, "IsolateDrill", w.Run)
		if err != nil {
			return err
		}
		w.Run.Quarantine = &out
	}
	if _, err := (&restore.Handler{Env: w.Env}).Handle(t.Context(), "start", "RestoreIntoQuarantine", w.Run); err != nil {
		return err
	}
	td := &teardown.Handler{Env: w.Env}
	out, err := td.Handle(t.Context(), "start", "TeardownAfterPass", w.Run)
	if err != nil {
		return err
	}
	w.Run.Teardown = &out
	_, err = td.Handle(t.Context(), "await", "AwaitTeardownAfterPass", w.Run)
	return err
}

// The process dies at every single write of its journal, before it and after it. Whatever was done by then, a teardown by
// another process leaves nothing of the drill, and everything else as it was.
func TestKilledAnywhere(t *testing.T) {
	whole := 1 << 20
	w := killedWorld(t)
	w.Env.Journals = steptest.Dying{Journal: w.Journal, Left: &whole}
	before := everything(t, w)
	if err := drill(t, w); err != nil {
		t.Fatal(err)
	}
	writes := 1<<20 - whole
	if writes < 20 {
		t.Fatalf("a drill writes %d records: the test covers too little", writes)
	}
	for n := 1; n <= writes; n++ {
		for _, after := range []bool{false, true} {
			w := killedWorld(t)
			healthy := w.Env.Journals
			left := n
			w.Env.Journals = steptest.Dying{Journal: w.Journal, Left: &left, After: after}
			if err := drill(t, w); err == nil {
				t.Fatalf("write %d: the process did not die", n)
			}
			w.Env.Journals = healthy
			w.Run.Teardown = nil
			td := &teardown.Handler{Env: w.Env}
			out, err := td.Handle(t.Context(), "start", "TeardownAfterFailure", w.Run)
			if err == nil {
				w.Run.Teardown = &out
				out, err = td.Handle(t.Context(), "await", "AwaitTeardownAfterFailure", w.Run)
			}
			if err != nil || (out.Phase != run.Undone && out.Phase != run.NothingToUndo) {
				t.Errorf("killed at write %d (after it: %v): %+v %v", n, after, out, err)
			}
			if d := cmp.Diff(before, everything(t, w)); d != "" {
				t.Errorf("killed at write %d (after it: %v): %s", n, after, d)
			}
		}
	}
}

// everything lists every object of the kinds that a drill makes.
func everything(t *testing.T, w *steptest.World) []string {
	t.Helper()
	var out []string
	for _, gvr := range []schema.GroupVersionResource{cluster.Namespaces, cluster.NetworkPolicies, cluster.StorageClasses, cluster.VolumeSnapshotContents,
		cluster.VolumeSnapshots, cluster.PersistentVolumeClaims, cluster.Secrets, cluster.StatefulSets} {
		l, err := w.Fake.Resource(gvr).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range l.Items {
			out = append(out, gvr.Resource+" "+i.GetNamespace()+"/"+i.GetName())
		}
	}
	return out
}
