package change

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

type guard struct{ err error }

func (g guard) Check(context.Context) error { return g.err }

// order records what happened when: the journal and the API server write into the same list.
type order struct{ steps []string }

type spyJournal struct {
	journal.Journal
	o   *order
	err error
}

func (s spyJournal) Intend(ctx context.Context, i journal.Intent) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.o.steps = append(s.o.steps, "intent "+string(i.Verb))
	return s.Journal.Intend(ctx, i)
}

func (s spyJournal) Done(ctx context.Context, d journal.Done) error {
	s.o.steps = append(s.o.steps, "done")
	return s.Journal.Done(ctx, d)
}

func configMap(name string, labels map[string]string, uid string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name, "namespace": "shop"}, "data": map[string]any{"k": "v"}}}
	u.SetLabels(labels)
	u.SetUID(types.UID(uid))
	return u
}

func setup(t *testing.T, g guard, jerr error, have ...runtime.Object) (*Changer, *fake.FakeDynamicClient, *order) {
	t.Helper()
	client := fake.NewSimpleDynamicClient(runtime.NewScheme(), have...)
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, meta.RESTScopeNamespace)
	j, err := (&journal.Files{Dir: t.TempDir()}).Open(context.Background(), "run-1")
	if err != nil {
		t.Fatal(err)
	}
	o := &order{}
	return &Changer{Client: client, Mapper: m, Journal: spyJournal{j, o, jerr}, Guard: g, Scope: Scope{Namespace: "shop", Run: "run-1"},
		Run: "run-1", Plan: "shop", State: "S", Now: func() time.Time { return time.Unix(1, 0) }}, client, o
}

func writes(c *fake.FakeDynamicClient) []string {
	var out []string
	for _, a := range c.Actions() {
		if v := a.GetVerb(); v != "get" && v != "list" && v != "watch" {
			out = append(out, v)
		}
	}
	return out
}

func TestCreateIsJournaledOwnedAndIdempotent(t *testing.T) {
	ctx := context.Background()
	c, client, o := setup(t, guard{}, nil)
	for range 2 {
		u, err := c.Create(ctx, configMap("new", nil, ""), "test")
		if err != nil {
			t.Fatal(err)
		}
		if u.GetLabels()[LabelRun] != "run-1" || u.GetLabels()[LabelManagedBy] != ManagedBy {
			t.Errorf("labels %v", u.GetLabels())
		}
	}
	if got := writes(client); len(got) != 1 {
		t.Errorf("writes %v, want one create", got)
	}
	if got := strings.Join(o.steps, ","); got != "intent create,done" {
		t.Errorf("order %s", got)
	}
}

func TestNothingIsChangedWhen(t *testing.T) {
	ref := Ref{GVR: cluster.ConfigMaps, Kind: "ConfigMap", Namespace: "shop", Name: "have", UID: "u1"}
	create := func(c *Changer) error {
		_, err := c.Create(context.Background(), configMap("new", nil, ""), "test")
		return err
	}
	for name, tc := range map[string]struct {
		guard guard
		jerr  error
		do    func(c *Changer) error
		code  fault.Code
	}{
		"the lease is lost":             {guard{fault.New(fault.LeaseLost, "check", nil)}, nil, create, fault.LeaseLost},
		"the journal cannot be written": {guard{}, errors.New("no space left on device"), create, fault.JournalUnwritable},
		"the object is another's": {guard{}, nil, func(c *Changer) error {
			_, err := c.Create(context.Background(), configMap("have", nil, ""), "test")
			return err
		}, fault.OverwriteRefused},
		"the UID is another": {guard{}, nil, func(c *Changer) error {
			r := ref
			r.UID = "u2"
			_, err := c.Patch(context.Background(), r, types.MergePatchType, []byte(`{"data":{"k":"w"}}`), "", "test", journal.UndoRestore)
			return err
		}, fault.Conflict},
		"a delete has no UID": {guard{}, nil, func(c *Changer) error {
			r := ref
			r.UID = ""
			return c.Delete(context.Background(), r, DeleteOptions{}, "test")
		}, fault.Internal},
		"a dry run": {guard{}, nil, func(c *Changer) error {
			c.DryRun = true
			return c.Delete(context.Background(), ref, DeleteOptions{}, "test")
		}, ""},
		"the object to delete is another one by now": {guard{}, nil, func(c *Changer) error {
			r := ref
			r.UID = "u0"
			return c.Delete(context.Background(), r, DeleteOptions{}, "test")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, client, _ := setup(t, tc.guard, tc.jerr, configMap("have", nil, "u1"))
			err := tc.do(c)
			var got fault.Code
			if err != nil {
				got = fault.From(err).Code
			}
			if got != tc.code {
				t.Errorf("got %v, want %q", err, tc.code)
			}
			if w := writes(client); len(w) != 0 {
				t.Errorf("writes %v, want none", w)
			}
		})
	}
}

func TestDeleteKeepsTheBeforeImage(t *testing.T) {
	ctx := context.Background()
	c, client, _ := setup(t, guard{}, nil, configMap("have", map[string]string{"a": "b"}, "u1"))
	if err := c.Delete(ctx, Ref{GVR: cluster.ConfigMaps, Kind: "ConfigMap", Namespace: "shop", Name: "have", UID: "u1"}, DeleteOptions{}, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(cluster.ConfigMaps).Namespace("shop").Get(ctx, "have", metav1.GetOptions{}); err == nil {
		t.Fatal("it is still there")
	}
	es, err := c.Journal.Entries(ctx)
	if err != nil || len(es) != 1 || !es[0].Pending() || es[0].Undo != journal.UndoRestore {
		t.Fatalf("entries %+v, %v", es, err)
	}
	var before unstructured.Unstructured
	if err := json.Unmarshal(es[0].Before, &before.Object); err != nil || before.GetLabels()["a"] != "b" {
		t.Fatalf("before-image %s, %v", es[0].Before, err)
	}
}

func TestSecretsDoNotReachTheJournalsContent(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{"kind": "Secret", "data": map[string]any{"password": "aHVudGVyMg=="}}}
	if b, err := json.Marshal(redact(u).Object); err != nil || strings.Contains(string(b), "aHVudGVyMg") {
		t.Errorf("content %s, %v", b, err)
	}
}
