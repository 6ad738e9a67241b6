package assess_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/functions/assess"
	"fallbackchain.io/fallback/functions/controlplane"
	"fallbackchain.io/fallback/functions/volumesync"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
)

// live is the sample on a real control plane with real volumes.
type live struct {
	stack *stack.Stack
	c     *cluster.Client
	plan  *plan.Plan
	runs  int
}

// newLive starts one stack for all live tests of this package.
func newLive(t *testing.T) *live {
	t.Helper()
	l := &live{stack: stacktest.Up(t, stack.Options{})}
	d, err := sample.Deploy(t.Context(), sample.Options{Kubeconfig: l.stack.Kubeconfig(), Dir: t.TempDir(), StackDir: l.stack.Layout().Dir})
	if err != nil {
		t.Fatal(err)
	}
	if l.plan, err = plan.Load(d.Plan); err != nil {
		t.Fatal(err)
	}
	steptest.Patient(l.plan)
	if l.c, err = cluster.FromKubeconfig(l.stack.Kubeconfig(), ""); err != nil {
		t.Fatal(err)
	}
	return l
}

// held is the guard of a run that holds its lease.
type held struct{}

func (held) Check(context.Context) error { return nil }

// env is what the local process brings, for a cluster client.
func (l *live) env(t *testing.T, c *cluster.Client) (*step.Env, *journal.Files) {
	js := &journal.Files{Dir: t.TempDir()}
	return &step.Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { return l.plan, nil },
		Connect:  func(context.Context, *plan.Plan) (*cluster.Client, error) { return c, nil },
		Inventory: func(_ context.Context, _ run.PlanRef, p *plan.Plan) (*inventory.Bundle, error) {
			return inventory.OpenDir(p.Spec.Inventory.Manifests.Path)
		},
		Journals: js,
		Guard:    func(*cluster.Client, *plan.Plan, string) change.Guard { return held{} },
		Now:      time.Now,
	}, js
}

func (l *live) run(mode run.Mode) run.Run {
	l.runs++
	return run.Run{ID: "shop-recover-" + string(rune('a'+l.runs)), Mode: mode, Plan: run.PlanRef{Name: "shop"}, StartedAt: time.Now()}
}

// assessed calls assess until it does not say Running.
func (l *live) assessed(t *testing.T, e *step.Env, r run.Run) run.Assess {
	t.Helper()
	handle := steptest.Retried((&assess.Handler{Env: e}).Handle)
	for range 10 {
		a, err := handle(t.Context(), "assess", "AssessCluster", r)
		if err != nil {
			t.Fatal(err)
		}
		sized(t, a)
		if a.Phase != run.Running {
			return a
		}
		r.Assess = &a
	}
	t.Fatal("assess is still Running after ten slices")
	return run.Assess{}
}

// tier runs start, what is between, and await to the end.
func (l *live) tier(t *testing.T, handle func(context.Context, string, string, run.Run) (run.Tier, error), set func(*run.Run, *run.Tier), r run.Run, between ...func()) run.Tier {
	t.Helper()
	handle = steptest.Retried(handle)
	sec, err := handle(t.Context(), "start", "Start", r)
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range between {
		do()
	}
	for sec.Phase == run.Started || sec.Phase == run.Running {
		sized(t, sec)
		set(&r, &sec)
		if sec, err = handle(t.Context(), "await", "Await", r); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s %s: %s\nfound %q\ndone %q\nwaited %d ms in %d rounds", sec.Phase, sec.Reason, sec.Message, sec.Found, sec.Done, sec.WaitedMS, sec.Rounds)
	return sec
}

func (l *live) volumesync(t *testing.T, e *step.Env, r run.Run) run.Tier {
	t.Helper()
	return l.tier(t, (&volumesync.Handler{Env: e}).Handle, func(r *run.Run, s *run.Tier) { r.VolumeSync = s }, r)
}

func (l *live) controlplane(t *testing.T, e *step.Env, r run.Run, between ...func()) run.Tier {
	t.Helper()
	return l.tier(t, (&controlplane.Handler{Env: e}).Handle, func(r *run.Run, s *run.Tier) { r.ControlPlane = s }, r, between...)
}

func sized(t *testing.T, section any) {
	t.Helper()
	b, err := json.Marshal(section)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > run.SectionLimit {
		t.Fatalf("the section has %d bytes, expected at most %d: %s", len(b), run.SectionLimit, b)
	}
}

// differs lists where signals are not as wanted: statuses and reasons ("" is any).
func differs(got signal.Set, want map[signal.Name][2]string) []string {
	var out []string
	if len(got) != len(signal.Names) {
		out = append(out, fmt.Sprintf("%d signals, expected all %d", len(got), len(signal.Names)))
	}
	for n, w := range want {
		g := got[n]
		if string(g.Status) != w[0] || (w[1] != "" && g.Reason != w[1]) {
			out = append(out, fmt.Sprintf("%s is %s/%s (%s), expected %s/%s", n, g.Status, g.Reason, g.Message, w[0], w[1]))
		}
	}
	return out
}

// wants assesses until the signals are as wanted: controllers show what a test did to the cluster, or mended, in their own time.
func (l *live) wants(t *testing.T, e *step.Env, r run.Run, want map[signal.Name][2]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wrong []string
	sources := []cluster.Source{{GVR: cluster.Pods, Namespace: sample.Namespace}, {GVR: cluster.VolumeAttachments}, {GVR: cluster.Nodes}}
	if ok, err := l.c.WaitFor(ctx, time.Second, sources, func(context.Context) (bool, error) {
		wrong = differs(l.assessed(t, e, r).Signals, want)
		return len(wrong) == 0, nil
	}); err != nil || !ok {
		t.Errorf("not as wanted within %s (%v): %q", patience, err, wrong)
	}
}

// patience is how long a condition of the cluster may take on a machine that does much else.
const patience = 3 * time.Minute

func (l *live) delete(t *testing.T, gvr schema.GroupVersionResource, namespace, name string, o metav1.DeleteOptions) {
	t.Helper()
	if err := l.c.Dynamic.Resource(gvr).Namespace(namespace).Delete(t.Context(), name, o); err != nil {
		t.Fatalf("delete %s %s/%s: %v", gvr.Resource, namespace, name, err)
	}
}

// until waits for a condition of the cluster.
func (l *live) until(t *testing.T, what string, sources []cluster.Source, done func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if ok, err := l.c.WaitFor(ctx, time.Second, sources, done); err != nil || !ok {
		t.Fatalf("%s: not within %s (%v)", what, patience, err)
	}
}

// patch makes a test's own merge patch.
func (l *live) patch(t *testing.T, gvr schema.GroupVersionResource, namespace, name, patch string) {
	t.Helper()
	steptest.Written(t, func() error {
		_, err := l.c.Dynamic.Resource(gvr).Namespace(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	})
}

// changes lists what a run wrote down, over all of its calls.
func changes(t *testing.T, js *journal.Files, r run.Run) []journal.Entry {
	t.Helper()
	j, err := js.Open(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	es, err := j.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return es
}

func (l *live) statefulSet(t *testing.T) *appsv1.StatefulSet {
	t.Helper()
	s, err := cluster.Get[appsv1.StatefulSet](t.Context(), l.c, cluster.StatefulSets, sample.Namespace, sample.StatefulSet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLive runs the three steps on a real control plane. The scenarios share one cluster and each leaves it recovered.
func TestLive(t *testing.T) {
	l := newLive(t)
	for _, sc := range []struct {
		name string
		run  func(*testing.T, *live)
	}{
		{"assess needs nothing but its RBAC", assessReadOnly},
		{"nothing is stuck", nothingStuck},
		{"an attachment that failed is made again", attachErrorMended},
		{"a node that is gone", nodeGone},
		{"a node that is out of service", nodeOutOfService},
		{"a finalizer that nobody removes", orphanedFinalizer},
		{"a drill keeps to its namespace", drillScope},
		{"scheduling is impossible", schedulingImpossible},
		{"objects are deleted", objectsDeleted},
		{"everything is deleted", everythingDeleted},
		{"the namespace is deleted", namespaceDeleted},
		{"the API server is away", apiServerAway},
	} {
		if !t.Run(sc.name, func(t *testing.T) { sc.run(t, l) }) {
			t.Fatal("the cluster is not what the next scenario expects")
		}
	}
}
