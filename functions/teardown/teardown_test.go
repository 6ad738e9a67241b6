package teardown

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const theirs = "apiVersion: v1\nkind: Secret\nmetadata: {name: pg, namespace: shop}"

func world(t *testing.T, objects ...string) *steptest.World {
	t.Helper()
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	p.Spec.Drill.TeardownBudget = plan.Duration(time.Minute)
	return steptest.New(t, run.Drill, p, append([]string{theirs}, objects...)...)
}

// drilled makes what a drill makes.
func drilled(t *testing.T, w *steptest.World) {
	t.Helper()
	ns := "drill-" + w.Run.ID
	ch := w.Changer("Restore")
	for _, text := range []string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}",
		"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: quarantine-deny, namespace: " + ns + "}",
		"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: " + w.Run.ID + "-fast}",
		"apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {name: " + w.Run.ID + "-data-pg-0}",
		"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-pg-0, namespace: " + ns + "}",
		"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: pg, namespace: " + ns + "}",
	} {
		if _, err := ch.Create(t.Context(), steptest.Object(t, text), "test"); err != nil {
			t.Fatal(err)
		}
	}
}

func handle(t *testing.T, w *steptest.World, op string) (run.Undo, error) {
	t.Helper()
	u, err := (&Handler{Env: w.Env}).Handle(t.Context(), op, "TeardownAfterPass", w.Run)
	w.Run.Teardown = &u
	return u, err
}

func both(t *testing.T, w *steptest.World) run.Undo {
	t.Helper()
	if _, err := handle(t, w, "start"); err != nil {
		t.Fatal("start:", err)
	}
	u, err := handle(t, w, "await")
	if err != nil {
		t.Fatal("await:", err)
	}
	return u
}

func TestEverythingOfTheDrillGoesAndNothingElse(t *testing.T) {
	w := world(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: drill-shop-drill-20261120020000-aaaa, labels: {fallbackchain.io/run: shop-drill-20261120020000-aaaa}}",
		"apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {name: snap-of-production}")
	drilled(t, w)
	n := len(w.Writes())
	u := both(t, w)
	if u.Phase != run.Undone || len(u.Left) > 0 || len(u.PutBack) != 6 {
		t.Fatalf("%+v", u)
	}
	ns := "drill-" + w.Run.ID
	if d := cmp.Diff([]string{"delete statefulsets " + ns + "/pg", "delete persistentvolumeclaims " + ns + "/data-pg-0", "delete volumesnapshotcontents " + w.Run.ID + "-data-pg-0",
		"delete storageclasses " + w.Run.ID + "-fast", "delete networkpolicies " + ns + "/quarantine-deny", "delete namespaces " + ns}, w.Writes()[n:]); d != "" {
		t.Error(d)
	}
	if w.Get(cluster.Secrets, "shop", "pg") == nil || w.Get(cluster.VolumeSnapshotContents, "", "snap-of-production") == nil ||
		w.Get(cluster.Namespaces, "", "drill-shop-drill-20261120020000-aaaa") == nil {
		t.Error("something else was deleted")
	}
	w.Run.Teardown = nil
	if u, err := handle(t, w, "start"); err != nil || u.Phase != run.NothingToUndo {
		t.Errorf("a second teardown: %+v %v", u, err)
	}
	if u, err := handle(t, w, "await"); err != nil || u.Phase != run.NothingToUndo {
		t.Errorf("its await: %+v %v", u, err)
	}
}

// The journal is gone: what carries the run's label and name is found anyway; what has the name without the label is left.
func TestWithoutAJournal(t *testing.T) {
	w := world(t)
	ns := "drill-" + w.Run.ID
	w.Put(cluster.Namespaces, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+", labels: {fallbackchain.io/run: "+w.Run.ID+"}}")
	w.Put(cluster.VolumeSnapshotContents, "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {name: "+w.Run.ID+"-x, labels: {fallbackchain.io/run: "+w.Run.ID+"}}")
	if u := both(t, w); u.Phase != run.Undone {
		t.Errorf("%+v", u)
	}
	w = world(t)
	w.Put(cluster.Namespaces, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+"}")
	if _, err := handle(t, w, "start"); err != nil {
		t.Fatal(err)
	}
	w.Pass(time.Minute)
	u, err := handle(t, w, "await")
	if err != nil || u.Phase != run.Incomplete || !strings.Contains(u.Message, "without this run's label") || w.Get(cluster.Namespaces, "", ns) == nil {
		t.Errorf("%+v %v", u, err)
	}
}

func TestNothing(t *testing.T) {
	if u := both(t, world(t)); u.Phase != run.NothingToUndo || u.Rounds != 0 {
		t.Errorf("%+v", u)
	}
}

// A volume of the drill that stays is found although the namespace is gone.
func TestVolumeThatStays(t *testing.T) {
	w := world(t)
	drilled(t, w)
	w.Put(cluster.PersistentVolumes, "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-0}\nspec: {persistentVolumeReclaimPolicy: Retain, claimRef: {namespace: drill-"+w.Run.ID+", name: data-pg-0}}\nstatus: {phase: Released}")
	if _, err := handle(t, w, "start"); err != nil {
		t.Fatal(err)
	}
	at := w.Now().Add(50 * time.Millisecond)
	w.Run.Teardown.Deadline = &at
	u, err := handle(t, w, "await")
	if err != nil || u.Phase != run.Running {
		t.Fatalf("%+v %v", u, err)
	}
	w.Pass(time.Minute)
	u, err = handle(t, w, "await")
	if err != nil || u.Phase != run.Incomplete || u.Reason != string(fault.BudgetExceeded) || !strings.Contains(strings.Join(u.Left, "\n"), "PersistentVolume pv-0 (reclaim policy Retain, Released)") {
		t.Errorf("%+v %v", u, err)
	}
}

func TestForeignLabelIsLeft(t *testing.T) {
	w := world(t)
	drilled(t, w)
	ns := "drill-" + w.Run.ID
	sts := w.Get(cluster.StatefulSets, ns, "pg")
	w.Put(cluster.StatefulSets, "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: pg, namespace: "+ns+", uid: "+string(sts.GetUID())+"}")
	u := both(t, w)
	if u.Phase != run.Incomplete || u.Reason != string(fault.UndoIncomplete) || len(u.Left) != 1 {
		t.Errorf("%+v", u)
	}
}

// A journal that shows a change outside the drill is a defect that nobody but a person may clear.
func TestOutside(t *testing.T) {
	const id, ns = "shop-drill-20261121020000-9f3c", "drill-shop-drill-20261121020000-9f3c"
	object := func(namespace, name string) journal.Entry {
		return journal.Entry{Intent: journal.Intent{Verb: journal.Patch, Object: journal.Object{Kind: "X", Namespace: namespace, Name: name}}}
	}
	refused := object("shop", "pg")
	refused.Done = &journal.Done{Error: "ProductionTouched"}
	for name, tc := range map[string]struct {
		entry journal.Entry
		want  []string
	}{
		"in the drill":                    {object(ns, "pg"), nil},
		"cluster-scoped of the run":       {object("", id+"-data"), nil},
		"the drill's namespace":           {object("", ns), nil},
		"in production":                   {object("shop", "pg"), []string{"patch X shop/pg"}},
		"in production with the run's ID": {object("shop", id), []string{"patch X shop/" + id}},
		"cluster-scoped of somebody else": {object("", "pv-1"), []string{"patch X pv-1"}},
		"refused before it was made":      {refused, nil},
		"in another drill":                {object("drill-shop-drill-20261121020000-0000", "pg"), []string{"patch X drill-shop-drill-20261121020000-0000/pg"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, outside([]journal.Entry{tc.entry}, change.Scope{Drill: true, Namespace: ns, Run: id})); d != "" {
				t.Error(d)
			}
		})
	}
	w := world(t)
	if _, err := w.Journal.Intend(t.Context(), object("shop", "pg").Intent); err != nil {
		t.Fatal(err)
	}
	if _, err := handle(t, w, "start"); fault.From(err).Code != fault.ProductionTouched {
		t.Errorf("%v, expected ProductionTouched", err)
	}
}

func TestAPIServerAway(t *testing.T) {
	w := world(t)
	drilled(t, w)
	if _, err := handle(t, w, "start"); err != nil {
		t.Fatal(err)
	}
	w.Put(cluster.Namespaces, "apiVersion: v1\nkind: Namespace\nmetadata: {name: drill-"+w.Run.ID+", labels: {fallbackchain.io/run: "+w.Run.ID+"}}")
	away := true
	w.Fake.PrependReactor("get", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		if away {
			return true, nil, errAway{}
		}
		return false, nil, nil
	})
	if u, err := handle(t, w, "await"); err != nil || u.Phase != run.Running {
		t.Fatalf("%+v %v, expected to go on waiting", u, err)
	}
	away = false
	if u, err := handle(t, w, "await"); err != nil || u.Phase != run.Undone {
		t.Errorf("%+v %v", u, err)
	}
	w.Run.Mode = run.Recover
	if _, err := handle(t, w, "start"); fault.From(err).Code != fault.InputInvalid {
		t.Errorf("in a recover: %v", err)
	}
}

type errAway struct{}

func (errAway) Error() string { return "dial tcp 127.0.0.1:6443: connect: connection refused" }
