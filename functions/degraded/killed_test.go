package degraded_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/functions/degraded"
	"fallbackchain.io/fallback/functions/quarantine"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/undo"
)

func killedWorld(t *testing.T) *steptest.World {
	t.Helper()
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	p.Spec.Quarantine.Level = plan.LevelApplied
	p.Spec.Tiers.DegradedStatefulSet.Relax = plan.Relax{NodeSelector: true, TolerateAll: true, CPU: "50m"}
	return steptest.New(t, run.Recover, p,
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}",
		"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop, labels: {app: web}}\nspec: {podSelector: {}, ingress: [{}], policyTypes: [Ingress]}",
		`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, namespace: shop}
spec:
  replicas: 2
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}
  template: {spec: {nodeSelector: {disk: ssd}, containers: [{name: pg, image: postgres}]}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}`,
		"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-pg-0, namespace: shop, uid: c0}\nspec: {volumeName: pv-0}\nstatus: {phase: Bound}",
		"apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-0}\nspec: {persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: shop, name: data-pg-0, uid: c0}}\nstatus: {phase: Bound}")
}

func degrade(t *testing.T, w *steptest.World) error {
	t.Helper()
	q := &quarantine.Handler{Env: w.Env}
	for _, op := range []string{"apply", "check"} {
		out, err := q.Handle(t.Context(), op, "IsolateWorkload", w.Run)
		if err != nil {
			return err
		}
		w.Run.Quarantine = &out
	}
	_, err := (&degraded.Handler{Env: w.Env}).Handle(t.Context(), "start", "DegradedStatefulSet", w.Run)
	return err
}

// The process dies at every single write of its journal while the tier starts, and again at every one of the first undo. Undoing by a
// third process brings back the workload, its volumes' policies and its NetworkPolicies.
func TestKilledAnywhere(t *testing.T) {
	const many = 1 << 20
	count := func(f func(w *steptest.World)) int {
		w, left := killedWorld(t), many
		healthy := w.Env.Journals
		w.Env.Journals = steptest.Dying{Journal: w.Journal, Left: &left}
		f(w)
		w.Env.Journals = healthy
		return many - left
	}
	undoAll := func(w *steptest.World) (undo.Result, error) {
		return undo.Entries(t.Context(), undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}, nil)
	}
	want := specs(t, killedWorld(t))
	start := count(func(w *steptest.World) {
		if err := degrade(t, w); err != nil {
			t.Fatal(err)
		}
	})
	whole := count(func(w *steptest.World) {
		if err := degrade(t, w); err != nil {
			t.Fatal(err)
		}
		if res, err := undoAll(w); err != nil || !res.Complete() {
			t.Fatalf("%+v %v", res, err)
		}
	})
	if start < 12 || whole < 2*start {
		t.Fatalf("%d and %d records: the test covers too little", start, whole)
	}
	for n := 1; n <= whole; n++ {
		for _, after := range []bool{false, true} {
			w, left := killedWorld(t), n
			healthy := w.Env.Journals
			w.Env.Journals = steptest.Dying{Journal: w.Journal, Left: &left, After: after}
			if err := degrade(t, w); err == nil {
				if _, err := undoAll(w); err == nil {
					t.Fatalf("write %d: nobody died", n)
				}
			}
			w.Env.Journals = healthy
			res, err := undoAll(w)
			if err != nil || !res.Complete() {
				t.Errorf("killed at write %d (after it: %v): %+v %v", n, after, res, err)
			}
			if d := cmp.Diff(want, specs(t, w)); d != "" {
				t.Errorf("killed at write %d (after it: %v): %s", n, after, d)
			}
		}
	}
}

// specs are the specs of everything that the tier and the quarantine change.
func specs(t *testing.T, w *steptest.World) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, gvr := range []schema.GroupVersionResource{cluster.Namespaces, cluster.NetworkPolicies, cluster.StatefulSets, cluster.PersistentVolumes, cluster.PersistentVolumeClaims} {
		l, err := w.Fake.Resource(gvr).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range l.Items {
			out[gvr.Resource+"/"+i.GetName()] = i.Object["spec"]
		}
	}
	return out
}
