package undo_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/undo"
)

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop, labels: {app: shop}}
data: {a: "1", b: "2"}`

const statefulSet = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, namespace: shop}
spec: {replicas: 3, template: {spec: {nodeSelector: {zone: a}, containers: [{name: pg, image: postgres}]}}}
status: {replicas: 3}`

func world(t *testing.T) *steptest.World {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	return steptest.New(t, run.Recover, p, settings, statefulSet, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}")
}

func ref(w *steptest.World, name string) change.Ref {
	if name == "pg" {
		return change.Ref{GVR: cluster.StatefulSets, Kind: "StatefulSet", Namespace: "shop", Name: name, UID: w.Get(cluster.StatefulSets, "shop", name).GetUID()}
	}
	return change.Ref{GVR: cluster.ConfigMaps, Kind: "ConfigMap", Namespace: "shop", Name: name, UID: w.Get(cluster.ConfigMaps, "shop", name).GetUID()}
}

func secret(t *testing.T) *unstructured.Unstructured {
	return steptest.Object(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: made, namespace: shop}\nstringData: {k: v}")
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func patch(t *testing.T, w *steptest.World, name, text string) {
	t.Helper()
	must[*unstructured.Unstructured](t)(w.Changer("Tier").Patch(t.Context(), ref(w, name), types.MergePatchType, []byte(text), "", "test", journal.UndoRestore))
}

// Each scenario makes changes, lets others act, undoes, and compares what was put back and what was left.
func TestEntries(t *testing.T) {
	for _, tc := range []struct {
		name   string
		act    func(t *testing.T, w *steptest.World)
		back   []string
		left   []string
		verify func(t *testing.T, w *steptest.World)
	}{
		{
			name: "what was created is deleted",
			act: func(t *testing.T, w *steptest.World) {
				must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), secret(t), "test"))
			},
			back: []string{"create Secret shop/made: deleted"},
			verify: func(t *testing.T, w *steptest.World) {
				if w.Get(cluster.Secrets, "shop", "made") != nil {
					t.Error("the secret is still there")
				}
			},
		},
		{
			name: "what was created and is gone already",
			act: func(t *testing.T, w *steptest.World) {
				must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), secret(t), "test"))
				w.Drop(cluster.Secrets, "shop", "made")
			},
			back: []string{"create Secret shop/made: gone"},
		},
		{
			name: "another object of the name is left alone",
			act: func(t *testing.T, w *steptest.World) {
				must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), secret(t), "test"))
				w.Drop(cluster.Secrets, "shop", "made")
				w.Put(cluster.Secrets, "apiVersion: v1\nkind: Secret\nmetadata: {name: made, namespace: shop, uid: theirs}")
			},
			back: []string{"create Secret shop/made: gone; another one has its name (UID theirs)"},
			verify: func(t *testing.T, w *steptest.World) {
				if w.Get(cluster.Secrets, "shop", "made") == nil {
					t.Error("somebody else's secret was deleted")
				}
			},
		},
		{
			name: "an object that lost the run's label is left",
			act: func(t *testing.T, w *steptest.World) {
				u := must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), secret(t), "test"))
				w.Put(cluster.Secrets, "apiVersion: v1\nkind: Secret\nmetadata: {name: made, namespace: shop, uid: "+string(u.GetUID())+"}")
			},
			left: []string{`create Secret shop/made: label fallbackchain.io/run is "", expected "shop-recover-20261121020000-9f3c": it is not this run's any more`},
		},
		{
			name: "what was deleted is created again",
			act: func(t *testing.T, w *steptest.World) {
				if err := w.Changer("Tier").Delete(t.Context(), ref(w, "settings"), change.DeleteOptions{}, "test"); err != nil {
					t.Fatal(err)
				}
			},
			back: []string{"delete ConfigMap shop/settings: created again"},
			verify: func(t *testing.T, w *steptest.World) {
				want, got := steptest.Object(t, settings), change.Bare(w.Get(cluster.ConfigMaps, "shop", "settings"))
				if d := cmp.Diff(want.Object, got.Object); d != "" {
					t.Errorf("put back with another content or with labels of ours: %s", d)
				}
			},
		},
		{
			name: "what was deleted is there again with other content",
			act: func(t *testing.T, w *steptest.World) {
				if err := w.Changer("Tier").Delete(t.Context(), ref(w, "settings"), change.DeleteOptions{}, "test"); err != nil {
					t.Fatal(err)
				}
				w.Put(cluster.ConfigMaps, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop, uid: theirs}\ndata: {a: other}")
			},
			left: []string{"delete ConfigMap shop/settings: another one has its name (UID theirs) with other content"},
		},
		{
			name: "what was deleted is there again as it was",
			act: func(t *testing.T, w *steptest.World) {
				if err := w.Changer("Tier").Delete(t.Context(), ref(w, "settings"), change.DeleteOptions{}, "test"); err != nil {
					t.Fatal(err)
				}
				w.Put(cluster.ConfigMaps, settings)
			},
			back: []string{"delete ConfigMap shop/settings: is there again"},
		},
		{
			name: "changed fields are set back, and only they",
			act: func(t *testing.T, w *steptest.World) {
				patch(t, w, "pg", `{"spec":{"replicas":1,"template":{"spec":{"nodeSelector":null,"tolerations":[{"operator":"Exists"}]}}}}`)
				// Somebody else writes other fields, and the controller its status.
				w.Put(cluster.StatefulSets, `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, namespace: shop, annotations: {note: theirs}}
spec: {replicas: 1, template: {spec: {tolerations: [{operator: Exists}], containers: [{name: pg, image: postgres}]}}}
status: {replicas: 1}`)
			},
			back: []string{"patch StatefulSet shop/pg: as it was before"},
			verify: func(t *testing.T, w *steptest.World) {
				have := w.Get(cluster.StatefulSets, "shop", "pg")
				want := steptest.Object(t, statefulSet)
				if d := cmp.Diff(want.Object["spec"], have.Object["spec"]); d != "" {
					t.Error(d)
				}
				if have.GetAnnotations()["note"] != "theirs" {
					t.Error("somebody else's annotation is gone")
				}
			},
		},
		{
			name: "a field that somebody else changed since is not written over",
			act: func(t *testing.T, w *steptest.World) {
				patch(t, w, "pg", `{"spec":{"replicas":1}}`)
				must[*unstructured.Unstructured](t)(w.Fake.Resource(cluster.StatefulSets).Namespace("shop").
					Patch(t.Context(), "pg", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{}))
			},
			left: []string{"patch StatefulSet shop/pg: somebody else changed it since: spec.replicas"},
			verify: func(t *testing.T, w *steptest.World) {
				if n, _, _ := unstructured.NestedInt64(w.Get(cluster.StatefulSets, "shop", "pg").Object, "spec", "replicas"); n != 5 {
					t.Errorf("replicas is %d, expected their 5", n)
				}
			},
		},
		{
			name: "two changes of one field are undone one after the other",
			act: func(t *testing.T, w *steptest.World) {
				patch(t, w, "pg", `{"spec":{"replicas":1}}`)
				patch(t, w, "pg", `{"spec":{"replicas":0}}`)
			},
			back: []string{"patch StatefulSet shop/pg: as it was before"},
			verify: func(t *testing.T, w *steptest.World) {
				if n, _, _ := unstructured.NestedInt64(w.Get(cluster.StatefulSets, "shop", "pg").Object, "spec", "replicas"); n != 3 {
					t.Errorf("replicas is %d, expected 3", n)
				}
			},
		},
		{
			name: "a later change of the run that is not undone does not count as somebody else's",
			act: func(t *testing.T, w *steptest.World) {
				patch(t, w, "pg", `{"spec":{"replicas":1}}`)
				must[*unstructured.Unstructured](t)(w.Changer("Rollback").Patch(t.Context(), ref(w, "pg"), types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), "", "scale to zero", journal.UndoRestore))
				es := must[[]journal.Entry](t)(w.Journal.Entries(t.Context()))
				if err := w.Journal.Undone(t.Context(), journal.Undone{Seq: es[len(es)-1].Seq, Note: "kept by the test"}); err != nil {
					t.Fatal(err)
				}
			},
			back: []string{"patch StatefulSet shop/pg: kept by the test", "patch StatefulSet shop/pg: as it was before"},
		},
		{
			name: "an object that was changed and is gone",
			act: func(t *testing.T, w *steptest.World) {
				patch(t, w, "settings", `{"data":{"a":"9"}}`)
				w.Drop(cluster.ConfigMaps, "shop", "settings")
			},
			left: []string{"patch ConfigMap shop/settings: the object with UID uid-1 is gone"},
		},
		{
			name: "deleted and made again under its name by the run",
			act: func(t *testing.T, w *steptest.World) {
				if err := w.Changer("Tier").Delete(t.Context(), ref(w, "settings"), change.DeleteOptions{}, "test"); err != nil {
					t.Fatal(err)
				}
				o := steptest.Object(t, settings)
				must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), o, "test"))
			},
			back: []string{"create ConfigMap shop/settings: deleted", "delete ConfigMap shop/settings: created again"},
			verify: func(t *testing.T, w *steptest.World) {
				if l := w.Get(cluster.ConfigMaps, "shop", "settings").GetLabels(); l[change.LabelRun] != "" {
					t.Errorf("the original came back with our labels: %v", l)
				}
			},
		},
		{
			name: "kept objects and unmade changes are not undone",
			act: func(t *testing.T, w *steptest.World) {
				must[*unstructured.Unstructured](t)(w.Changer("Tier").CreateKept(t.Context(), secret(t), "a snapshot"))
				seq := must[int](t)(w.Journal.Intend(t.Context(), journal.Intent{Verb: journal.Create, Undo: journal.UndoDelete,
					Object: journal.Object{APIVersion: "v1", Kind: "Secret", Resource: "secrets", Namespace: "shop", Name: "refused"}}))
				if err := w.Journal.Done(t.Context(), journal.Done{Seq: seq, Error: "forbidden"}); err != nil {
					t.Fatal(err)
				}
			},
			verify: func(t *testing.T, w *steptest.World) {
				if w.Get(cluster.Secrets, "shop", "made") == nil {
					t.Error("what is kept was deleted")
				}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t)
			tc.act(t, w)
			d := undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}
			res, err := undo.Entries(t.Context(), d, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(undo.Result{PutBack: tc.back, Left: tc.left}, res); d != "" {
				t.Error(d)
			}
			if tc.verify != nil {
				tc.verify(t, w)
			}
			// The same again changes nothing and says the same.
			before := len(w.Writes())
			again, err := undo.Entries(t.Context(), d, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(res, again); d != "" {
				t.Errorf("a second call: %s", d)
			}
			if n := len(w.Writes()); n != before {
				t.Errorf("a second call wrote %q", w.Writes()[before:])
			}
		})
	}
}

// The process died between an intent and its outcome: only reading the object tells whether the change was made.
func TestInterrupted(t *testing.T) {
	intend := func(t *testing.T, w *steptest.World, i journal.Intent) {
		t.Helper()
		must[int](t)(w.Journal.Intend(t.Context(), i))
	}
	secretOf := journal.Object{APIVersion: "v1", Kind: "Secret", Resource: "secrets", Namespace: "shop", Name: "made"}
	scale := func(t *testing.T, w *steptest.World, content string) journal.Intent {
		have := w.Get(cluster.StatefulSets, "shop", "pg")
		before := must[[]byte](t)(have.MarshalJSON())
		return journal.Intent{Verb: journal.Patch, Undo: journal.UndoRestore, Before: before, Content: []byte(content),
			Object: journal.Object{APIVersion: "apps/v1", Kind: "StatefulSet", Resource: "statefulsets", Namespace: "shop", Name: "pg", UID: string(have.GetUID())}}
	}
	const merge = `{"patch":"{\"spec\":{\"replicas\":1}}","type":"application/merge-patch+json","subresource":""}`
	toOne := func(t *testing.T, w *steptest.World, n string) {
		must[*unstructured.Unstructured](t)(w.Fake.Resource(cluster.StatefulSets).Namespace("shop").
			Patch(t.Context(), "pg", types.MergePatchType, []byte(`{"spec":{"replicas":`+n+`}}`), metav1.PatchOptions{}))
	}
	for _, tc := range []struct {
		name string
		act  func(t *testing.T, w *steptest.World)
		want undo.Result
	}{
		{"a creation that was not made", func(t *testing.T, w *steptest.World) {
			intend(t, w, journal.Intent{Verb: journal.Create, Undo: journal.UndoDelete, Object: secretOf})
		}, undo.Result{PutBack: []string{"create Secret shop/made: was never made"}}},
		{"a creation that was made", func(t *testing.T, w *steptest.World) {
			intend(t, w, journal.Intent{Verb: journal.Create, Undo: journal.UndoDelete, Object: secretOf})
			w.Put(cluster.Secrets, "apiVersion: v1\nkind: Secret\nmetadata: {name: made, namespace: shop, labels: {fallbackchain.io/run: "+w.Run.ID+"}}")
		}, undo.Result{PutBack: []string{"create Secret shop/made: deleted"}}},
		{"a creation that was not made, and somebody else's object", func(t *testing.T, w *steptest.World) {
			intend(t, w, journal.Intent{Verb: journal.Create, Undo: journal.UndoDelete, Object: secretOf})
			w.Put(cluster.Secrets, "apiVersion: v1\nkind: Secret\nmetadata: {name: made, namespace: shop}")
		}, undo.Result{PutBack: []string{"create Secret shop/made: was never made; one that is not this run's has its name"}}},
		{"a patch that was not made", func(t *testing.T, w *steptest.World) { intend(t, w, scale(t, w, merge)) },
			undo.Result{PutBack: []string{"patch StatefulSet shop/pg: is as it was"}}},
		{"a patch that was made", func(t *testing.T, w *steptest.World) { intend(t, w, scale(t, w, merge)); toOne(t, w, "1") },
			undo.Result{PutBack: []string{"patch StatefulSet shop/pg: as it was before"}}},
		{"a patch of which nobody knows", func(t *testing.T, w *steptest.World) { intend(t, w, scale(t, w, merge)); toOne(t, w, "7") },
			undo.Result{Left: []string{"patch StatefulSet shop/pg: somebody else changed it since: spec.replicas"}}},
		{"a JSON patch whose answer was lost", func(t *testing.T, w *steptest.World) {
			intend(t, w, scale(t, w, `{"patch":"[]","type":"application/json-patch+json","subresource":""}`))
		}, undo.Result{Left: []string{`patch StatefulSet shop/pg: the answer to a patch of type "application/json-patch+json" was lost: what it changed is not known`}}},
		{"an entry that names nothing", func(t *testing.T, w *steptest.World) {
			intend(t, w, journal.Intent{Verb: journal.Create, Undo: journal.UndoDelete, Object: journal.Object{Kind: "Secret", APIVersion: "v1"}})
		}, undo.Result{Left: []string{`create Secret : UndoIncomplete: undo Secret : the journal names no object: v1 ""`}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t)
			tc.act(t, w)
			res, err := undo.Entries(t.Context(), undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, res); d != "" {
				t.Error(d)
			}
		})
	}
}

// held keeps an object with a finalizer: a delete only marks it.
func held(w *steptest.World, resource string) (release func()) {
	w.Fake.PrependReactor("delete", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, nil
	})
	chain := w.Fake.ReactionChain
	return func() { w.Fake.ReactionChain = chain[1:] }
}

func TestWaitingForAnObjectThatStays(t *testing.T) {
	w := world(t)
	must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), secret(t), "test"))
	release := held(w, "secrets")
	d := undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback"), NoWait: true}
	res, err := undo.Entries(t.Context(), d, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"create Secret shop/made"}; !cmp.Equal(res.Waiting, want) || len(res.PutBack) > 0 {
		t.Fatalf("%+v, expected to be waiting for %q", res, want)
	}
	// A bounded wait that ends is no error, and nothing is called undone.
	ctx, cancel := context.WithCancel(t.Context())
	w.Fake.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) { cancel(); return false, nil, nil })
	d.NoWait = false
	if res, err = undo.Entries(ctx, d, nil); err != nil || len(res.Waiting) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	w.Fake.ReactionChain = w.Fake.ReactionChain[1:]
	release()
	if res, err = undo.Entries(t.Context(), d, nil); err != nil || !res.Complete() {
		t.Fatalf("%+v, %v", res, err)
	}
}

func TestFaultsThatStop(t *testing.T) {
	for name, tc := range map[string]struct {
		guard error
		api   error
		want  fault.Code
	}{
		"the lease is lost":      {guard: fault.New(fault.LeaseLost, "change", nil), want: fault.LeaseLost},
		"the API server is away": {api: errors.New("connection refused"), want: fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t)
			must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), secret(t), "test"))
			w.Guard = tc.guard
			if tc.api != nil {
				w.Fake.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tc.api })
			}
			res, err := undo.Entries(t.Context(), undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}, nil)
			if fault.From(err).Code != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
			if len(res.PutBack) > 0 {
				t.Errorf("called undone: %q", res.PutBack)
			}
		})
	}
}

func TestNamespaceGoesLast(t *testing.T) {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	w := steptest.New(t, run.Drill, p)
	ns := "drill-" + w.Run.ID
	ch := w.Changer("Isolate")
	for _, text := range []string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}",
		"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: " + ns + "}",
		"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: pg, namespace: " + ns + "}",
	} {
		must[*unstructured.Unstructured](t)(ch.Create(t.Context(), steptest.Object(t, text), "test"))
	}
	w.Put(cluster.Pods, "apiVersion: v1\nkind: Pod\nmetadata: {name: pg-0, namespace: "+ns+"}")
	d := undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Teardown"), NoWait: true}
	if _, err := undo.Entries(t.Context(), d, nil); err != nil {
		t.Fatal(err)
	}
	if w.Get(cluster.NetworkPolicies, ns, "deny") == nil || w.Get(cluster.Namespaces, "", ns) == nil {
		t.Error("the quarantine went while a pod was running")
	}
	if w.Get(cluster.StatefulSets, ns, "pg") != nil {
		t.Error("the workload was not deleted first")
	}
	w.Drop(cluster.Pods, ns, "pg-0")
	d.NoWait = false
	res, err := undo.Entries(t.Context(), d, nil)
	if err != nil || !res.Complete() {
		t.Fatalf("%+v %v", res, err)
	}
	var deletes []string
	for _, c := range w.Writes() {
		if strings.HasPrefix(c, "delete") {
			deletes = append(deletes, strings.Fields(c)[1])
		}
	}
	if d := cmp.Diff([]string{"delete", "statefulsets", "pods", "networkpolicies", "namespaces"}[1:], deletes); d != "" {
		t.Error(d)
	}
}

func TestFilterChooses(t *testing.T) {
	w := world(t)
	must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), secret(t), "test"))
	patch(t, w, "pg", `{"spec":{"replicas":1}}`)
	res, err := undo.Entries(t.Context(), undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Lift")}, func(e journal.Entry) bool { return e.Object.Kind == "StatefulSet" })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(undo.Result{PutBack: []string{"patch StatefulSet shop/pg: as it was before"}}, res); d != "" {
		t.Error(d)
	}
	if w.Get(cluster.Secrets, "shop", "made") == nil {
		t.Error("an entry that the filter did not choose was undone")
	}
}

// The time is over before the call: nothing is done, what is done stays done, and neither is an error.
func TestTimeIsOver(t *testing.T) {
	w := world(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	d := undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}
	if res, err := undo.Entries(over, d, nil); err != nil || !res.Complete() {
		t.Errorf("an empty journal: %+v %v", res, err)
	}
	must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), secret(t), "test"))
	if res, err := undo.Entries(over, d, nil); err != nil || len(res.Waiting) != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if w.Get(cluster.Secrets, "shop", "made") == nil {
		t.Error("something was undone after the time was over")
	}
}
