// Package steptest lets tests of steps run the real handlers, changer, journal and undo against an API server that is faked at the
// edge: client-go's dynamic fake, with the UIDs, dry runs and preconditions that the real one has. Only tests import it.
package steptest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// Kubernetes is the version of the fake cluster, ClusterUID its identity.
const (
	Kubernetes = "v1.36.3"
	ClusterUID = "11111111-1111-1111-1111-111111111111"
)

// Start is the time at which a world's clock stands still until the test moves it.
var Start = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)

// World is a fake cluster and everything a step needs around it.
type World struct {
	testing.TB
	Env     *step.Env
	Cluster *cluster.Client
	Fake    *fake.FakeDynamicClient
	Plan    *plan.Plan
	Journal journal.Journal
	Run     run.Run

	mu  sync.Mutex
	now time.Time
	uid int
	// Guard is what the lease guard answers.
	Guard error
	// Discovery is what the API server answers to GETs of paths that are not objects; a test may add API groups before it asks.
	Discovery map[string]string
	// Bundle is what Env.Inventory opens; nil is an inventory that is missing.
	Bundle func() (*inventory.Bundle, error)
}

// New makes a world of one run with the given objects, as YAML documents of one object each.
func New(t testing.TB, mode run.Mode, p *plan.Plan, objects ...string) *World {
	t.Helper()
	w := &World{TB: t, Plan: p.WithDefaults(), now: Start}
	w.Run = run.Run{ID: p.Metadata.Name + "-" + string(mode) + "-20261121020000-9f3c", Mode: mode, StartedAt: Start,
		Plan: run.PlanRef{Name: p.Metadata.Name, URI: "plan.yaml"}}
	var have []runtime.Object
	kubeSystem := Object(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system, uid: "+ClusterUID+"}")
	have = append(have, kubeSystem)
	for _, text := range objects {
		o := Object(t, text)
		if o.GetUID() == "" {
			o.SetUID(w.nextUID())
		}
		have = append(have, o)
	}
	kinds, mapper := resources()
	w.Fake = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, have...)
	w.react()
	w.Discovery = map[string]string{
		"/version": fmt.Sprintf(`{"gitVersion":%q}`, Kubernetes),
		"/api":     `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis":    `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer, ok := w.Discovery[r.URL.Path]
		if !ok {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprint(rw, answer)
	}))
	t.Cleanup(srv.Close)
	c, err := cluster.New(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	c.Dynamic, c.Mapper = w.Fake, mapper
	w.Cluster = c
	store := &journal.Files{Dir: t.TempDir()}
	if w.Journal, err = store.Open(t.Context(), w.Run.ID); err != nil {
		t.Fatal(err)
	}
	w.Env = &step.Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { return w.Plan, nil },
		Connect:  func(context.Context, *plan.Plan) (*cluster.Client, error) { return w.Cluster, nil },
		Inventory: func(context.Context, run.PlanRef, *plan.Plan) (*inventory.Bundle, error) {
			if w.Bundle == nil {
				return nil, fmt.Errorf("there is no bundle in this test")
			}
			return w.Bundle()
		},
		Journals: store,
		Read:     &step.BackupCache{},
		Evidence: step.EvidenceFiles{Dir: store.Dir},
		Guard:    func(*cluster.Client, *plan.Plan, string) change.Guard { return guard{w} },
		Now:      w.Now,
	}
	return w
}

type guard struct{ w *World }

func (g guard) Check(context.Context) error { return g.w.Guard }

// Now is the world's clock.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Pass moves the clock on.
func (w *World) Pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Changer is the run's changer for a state.
func (w *World) Changer(state string) *change.Changer {
	w.Helper()
	s, err := w.Env.Open(w.Context(), state, w.Run)
	if err != nil {
		w.Fatal(err)
	}
	return s.Changer()
}

// Object reads one object.
func Object(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(j); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return u
}

// Get reads an object of the cluster; nil when there is none.
func (w *World) Get(gvr schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	w.Helper()
	u, err := w.Fake.Resource(gvr).Namespace(namespace).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return u
}

// Put creates or replaces an object behind the run's back, as somebody else would.
func (w *World) Put(gvr schema.GroupVersionResource, text string) *unstructured.Unstructured {
	w.Helper()
	o := Object(w, text)
	ri := w.Fake.Resource(gvr).Namespace(o.GetNamespace())
	if have := w.Get(gvr, o.GetNamespace(), o.GetName()); have != nil {
		if o.GetUID() == "" {
			o.SetUID(have.GetUID())
		}
		u, err := ri.Update(w.Context(), o, metav1.UpdateOptions{})
		if err != nil {
			w.Fatal(err)
		}
		return u
	}
	u, err := ri.Create(w.Context(), o, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return u
}

// Drop deletes an object behind the run's back.
func (w *World) Drop(gvr schema.GroupVersionResource, namespace, name string) {
	w.Helper()
	if err := w.Fake.Resource(gvr).Namespace(namespace).Delete(w.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
}

// Changes lists the journal as "verb Kind namespace/name", in order.
func (w *World) Changes() []string {
	w.Helper()
	es, err := w.Journal.Entries(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	out := make([]string, 0, len(es))
	for _, e := range es {
		out = append(out, fmt.Sprintf("%s %s", e.Verb, e.Object))
	}
	return out
}

// Writes lists what was sent to the cluster that changes it (dry runs left out), as "verb resource namespace/name".
func (w *World) Writes() []string {
	var out []string
	for _, a := range w.Fake.Actions() {
		if slices.Contains([]string{"get", "list", "watch"}, a.GetVerb()) || isDryRun(a) {
			continue
		}
		out = append(out, fmt.Sprintf("%s %s %s", a.GetVerb(), a.GetResource().Resource, target(a)))
	}
	return out
}

// mapper is a REST mapper of a fixed list.
type mapper struct{ meta.RESTMapper }

func (mapper) Reset() {}
