package quarantine_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/functions/quarantine"
	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/functions/teardown"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
)

type always struct{}

func (always) Check(context.Context) error { return nil }

// world is one run against a real control plane.
type world struct {
	*testing.T
	env  *step.Env
	c    *cluster.Client
	plan *plan.Plan
	run  run.Run
}

// TestLive runs all of it on one stack: a drill's isolation, restore and teardown, and the degraded tier, each leaving the sample as it
// was.
func TestLive(t *testing.T) {
	s := stacktest.Up(t, stack.Options{})
	d, err := sample.Deploy(t.Context(), sample.Options{Kubeconfig: s.Kubeconfig(), Dir: t.TempDir(), StackDir: s.Layout().Dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("drill", func(t *testing.T) { liveDrill(t, d.Plan) })
	t.Run("drill leaves no volume", func(t *testing.T) { liveDrillLeavesNoVolume(t, d.Plan) })
	t.Run("degraded", func(t *testing.T) { liveDegraded(t, d.Plan) })
	t.Run("degraded from the inventory", func(t *testing.T) { liveDegradedBuild(t, d.Plan) })
}

func newWorld(t *testing.T, path string, mode run.Mode) *world {
	t.Helper()
	p, err := plan.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.FromKubeconfig(p.Spec.Cluster.Kubeconfig.Path, p.Spec.Cluster.Kubeconfig.Context)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 8)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	id, err := runid.New(p.Metadata.Name, mode, time.Now(), hex.EncodeToString(noise))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, c: c, plan: p, run: run.Run{ID: id, Mode: mode, Plan: run.PlanRef{Name: p.Metadata.Name, URI: path}, StartedAt: time.Now()}}
	w.env = &step.Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { return w.plan, nil },
		Connect:  func(context.Context, *plan.Plan) (*cluster.Client, error) { return c, nil },
		Inventory: func(_ context.Context, _ run.PlanRef, p *plan.Plan) (*inventory.Bundle, error) {
			return inventory.OpenDir(p.Spec.Inventory.Manifests.Path)
		},
		Journals: &journal.Files{Dir: t.TempDir()},
		Guard:    func(*cluster.Client, *plan.Plan, string) change.Guard { return always{} },
		Now:      time.Now,
		Say:      func(i journal.Intent) { t.Logf("%s %s: %s", i.Verb, i.Object, i.Why) },
	}
	return w
}

func (w *world) quarantine(ctx context.Context, op string) *run.Quarantine {
	w.Helper()
	q, err := steptest.Retried((&quarantine.Handler{Env: w.env}).Handle)(ctx, op, "State", w.run)
	if err != nil {
		w.Fatal(op, err)
	}
	w.Logf("quarantine %s: %s %s %v", op, q.Phase, q.Message, q.Findings)
	w.run.Quarantine = &q
	return &q
}

func (w *world) restore(ctx context.Context, op string) *run.Restore {
	w.Helper()
	for {
		began := time.Now()
		r, err := steptest.Retried((&restore.Handler{Env: w.env}).Handle)(ctx, op, "State", w.run)
		if err != nil {
			w.Fatal(op, err)
		}
		w.Logf("restore %s: %s %s in %s; left out %q", op, r.Phase, r.Message, time.Since(began), r.LeftOut)
		w.run.Restore = &r
		if r.Phase != run.Running {
			return &r
		}
	}
}

func (w *world) teardown(ctx context.Context, op string) *run.Undo {
	w.Helper()
	for {
		began := time.Now()
		u, err := steptest.Retried((&teardown.Handler{Env: w.env}).Handle)(ctx, op, "State", w.run)
		if err != nil {
			w.Fatal(op, err)
		}
		w.Logf("teardown %s: %s %s in %s; left %q", op, u.Phase, u.Message, time.Since(began), u.Left)
		w.run.Teardown = &u
		if u.Phase != run.Running {
			return &u
		}
	}
}

func liveDrill(t *testing.T, plan string) {
	w := newWorld(t, plan, run.Drill)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	before, err := production.Read(ctx, w.c, w.plan.Spec.Workload.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	w.run.RollbackPoint = &run.RollbackPoint{Phase: run.Captured, ProductionDigest: before.Digest(), ProductionCount: len(before)}

	w.quarantine(ctx, "apply")
	target := w.run.Quarantine.Namespace

	// A policy that opens everything must be found.
	open := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
		"metadata": map[string]any{"name": "open"}, "spec": map[string]any{"podSelector": map[string]any{}, "egress": []any{map[string]any{}}, "policyTypes": []any{"Egress"}}}}
	np := w.c.Dynamic.Resource(cluster.NetworkPolicies).Namespace(target)
	if _, err := np.Create(ctx, open, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if q := w.quarantine(ctx, "check"); q.Phase != run.Broken || len(q.Findings) != 1 {
		t.Errorf("check beside an open policy: %s %v", q.Phase, q.Findings)
	}
	if err := np.Delete(ctx, "open", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if q := w.quarantine(ctx, "check"); q.Phase != run.Verified || q.Level != "Applied" {
		t.Fatalf("check: %s at level %q: %v", q.Phase, q.Level, q.Findings)
	}

	w.restore(ctx, "start")
	w.restore(ctx, "start") // a second call changes nothing
	if r := w.restore(ctx, "await"); r.Phase != run.Succeeded {
		t.Fatalf("restore: %s: %s", r.Phase, r.Message)
	}
	if q := w.quarantine(ctx, "check"); q.Phase != run.Verified {
		t.Errorf("check after the restore: %s %v", q.Phase, q.Findings)
	}

	w.teardown(ctx, "start")
	if u := w.teardown(ctx, "await"); u.Phase != run.Undone || len(u.Left) > 0 {
		t.Fatalf("teardown: %s: %s", u.Phase, u.Message)
	}
	if _, err := cluster.Get[corev1.Namespace](ctx, w.c, cluster.Namespaces, "", target); !apierrors.IsNotFound(err) {
		t.Errorf("namespace %s after teardown: %v", target, err)
	}
	pols, err := cluster.List[networkingv1.NetworkPolicy](ctx, w.c, cluster.NetworkPolicies, w.plan.Spec.Workload.Namespace, metav1.ListOptions{})
	if err != nil || len(pols) != countPolicies(before) {
		t.Errorf("production's policies: %d, %v", len(pols), err)
	}
	after, err := production.Read(ctx, w.c, w.plan.Spec.Workload.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if d := production.Diff(before, after); len(d) > 0 {
		t.Errorf("the drill changed production: %q", d)
	}
	w.run.Teardown = nil
	if u := w.teardown(ctx, "start"); u.Phase != run.NothingToUndo {
		t.Errorf("a second teardown: %s %s", u.Phase, u.Message)
	}
}

func countPolicies(v production.Versions) int {
	n := 0
	for k := range v {
		if len(k) > 13 && k[:13] == "NetworkPolicy" {
			n++
		}
	}
	return n
}

func toMap(o runtime.Object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "PersistentVolumeClaim"})
	delete(u.Object, "status")
	return u, err
}

// Where production's class retains its volumes, a drill still leaves no volume behind.
func liveDrillLeavesNoVolume(t *testing.T, plan string) {
	w := newWorld(t, plan, run.Drill)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	classes := w.c.Dynamic.Resource(cluster.StorageClasses)
	all, err := classes.List(ctx, metav1.ListOptions{})
	if err != nil || len(all.Items) != 1 {
		t.Fatalf("%d classes, %v: the sample has one", len(all.Items), err)
	}
	original := change.Bare(&all.Items[0])
	swap := func(ctx context.Context, policy string) {
		if err := classes.Delete(ctx, original.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c := original.DeepCopy()
		c.Object["reclaimPolicy"] = policy
		if _, err := classes.Create(ctx, c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	before := volumeNames(ctx, w)
	swap(ctx, "Retain")
	t.Cleanup(func() { swap(context.Background(), "Delete") })
	w.quarantine(ctx, "apply")
	w.quarantine(ctx, "check")
	w.restore(ctx, "start")
	if r := w.restore(ctx, "await"); r.Phase != run.Succeeded {
		t.Fatalf("restore: %s", r.Message)
	}
	w.teardown(ctx, "start")
	if u := w.teardown(ctx, "await"); u.Phase != run.Undone {
		t.Fatalf("teardown: %s %s", u.Message, u.Left)
	}
	if d := cmp.Diff(before, volumeNames(ctx, w)); d != "" {
		t.Errorf("volumes: %s", d)
	}
	if l, err := classes.List(ctx, metav1.ListOptions{}); err != nil || len(l.Items) != 1 {
		t.Errorf("classes: %d %v", len(l.Items), err)
	}
}

func volumeNames(ctx context.Context, w *world) []string {
	w.Helper()
	pvs, err := cluster.List[corev1.PersistentVolume](ctx, w.c, cluster.PersistentVolumes, "", metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, pv := range pvs {
		out = append(out, pv.Name)
	}
	slices.Sort(out)
	return out
}
