package rollback_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/functions/gate"
	leasestep "fallbackchain.io/fallback/functions/lease"
	"fallbackchain.io/fallback/functions/rollback"
	"fallbackchain.io/fallback/functions/rollbackpoint"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
)

// live is the sample on a real control plane, with real volumes, snapshots and databases.
type live struct {
	c    *cluster.Client
	plan *plan.Plan
	env  *step.Env
	kube string
	runs int
}

func newLive(t *testing.T) *live {
	t.Helper()
	s := stacktest.Up(t, stack.Options{})
	d, err := sample.Deploy(t.Context(), sample.Options{Kubeconfig: s.Kubeconfig(), Dir: t.TempDir(), StackDir: s.Layout().Dir})
	if err != nil {
		t.Fatal(err)
	}
	l := &live{kube: s.Kubeconfig()}
	if l.plan, err = plan.Load(d.Plan); err != nil {
		t.Fatal(err)
	}
	steptest.Patient(l.plan)
	if l.c, err = cluster.FromKubeconfig(s.Kubeconfig(), ""); err != nil {
		t.Fatal(err)
	}
	l.env = &step.Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { return l.plan, nil },
		Connect:  func(context.Context, *plan.Plan) (*cluster.Client, error) { return l.c, nil },
		Inventory: func(_ context.Context, _ run.PlanRef, p *plan.Plan) (*inventory.Bundle, error) {
			return inventory.OpenDir(p.Spec.Inventory.Manifests.Path)
		},
		Journals: &journal.Files{Dir: t.TempDir()},
		Guard: func(c *cluster.Client, p *plan.Plan, id string) change.Guard {
			return lease.NewGuard(c, lease.Name(p.Spec.Workload.Namespace, p.Spec.Workload.StatefulSet), id)
		},
		Now: time.Now,
	}
	return l
}

func (l *live) run(mode run.Mode) run.Run {
	l.runs++
	return run.Run{ID: fmt.Sprintf("shop-%s-%d", mode, l.runs), Mode: mode, Plan: run.PlanRef{Name: "shop"}, StartedAt: time.Now()}
}

func sized(t *testing.T, section any) {
	t.Helper()
	b, err := json.MarshalIndent(section, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%T %s", section, b)
	if len(b) > run.SectionLimit {
		t.Errorf("the section has %d bytes, expected at most %d", len(b), run.SectionLimit)
	}
}

// loop calls a step until its phase is neither Started nor Running.
func loop[S any](t *testing.T, r *run.Run, handle func(context.Context, string, string, run.Run) (S, error), op, state string, set func(*run.Run, *S) run.Phase) S {
	t.Helper()
	handle = steptest.Retried(handle)
	for range 20 {
		sec, err := handle(t.Context(), op, state, *r)
		if err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		if p := set(r, &sec); p != run.Running {
			sized(t, sec)
			return sec
		}
	}
	t.Fatalf("%s is still Running after 20 slices", op)
	panic("unreachable")
}

func (l *live) lease(t *testing.T, r *run.Run, h *leasestep.Handler, op string) run.Lease {
	t.Helper()
	h.Env = l.env
	return loop(t, r, h.Handle, op, "TakeLease", func(r *run.Run, s *run.Lease) run.Phase { r.Lease = s; return s.Phase })
}

func (l *live) capture(t *testing.T, r *run.Run) run.RollbackPoint {
	t.Helper()
	return loop(t, r, (&rollbackpoint.Handler{Env: l.env}).Handle, "capture", "CaptureRollbackPoint",
		func(r *run.Run, s *run.RollbackPoint) run.Phase { r.RollbackPoint = s; return s.Phase })
}

func (l *live) gate(t *testing.T, r *run.Run) run.Gate {
	t.Helper()
	h := &gate.Handler{Env: l.env}
	r.Gate = nil
	set := func(r *run.Run, s *run.Gate) run.Phase { r.Gate = s; return s.Phase }
	if g := loop(t, r, h.Handle, "ready", "ApplicationGate", set); g.Phase != run.Ready {
		return g
	}
	return loop(t, r, h.Handle, "transaction", "ReadOnlyTransaction", set)
}

func (l *live) rollback(t *testing.T, r *run.Run) run.Undo {
	t.Helper()
	h := &rollback.Handler{Env: l.env}
	sec, err := steptest.Retried(h.Handle)(t.Context(), "start", "Rollback", *r)
	if err != nil {
		t.Fatal(err)
	}
	r.Rollback = &sec
	if sec.Phase != run.Started {
		return sec
	}
	return loop(t, r, h.Handle, "await", "AwaitRollback", func(r *run.Run, s *run.Undo) run.Phase { r.Rollback = s; return s.Phase })
}

func (l *live) exec(t *testing.T, pod int, sql string) {
	t.Helper()
	if _, err := sample.Exec(t.Context(), l.c, sample.Namespace, sample.Pod(pod), sql); err != nil {
		t.Fatal(err)
	}
}

func (l *live) claims(t *testing.T) map[string]corev1.PersistentVolumeClaim {
	t.Helper()
	cs, err := cluster.List[corev1.PersistentVolumeClaim](t.Context(), l.c, cluster.PersistentVolumeClaims, sample.Namespace, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]corev1.PersistentVolumeClaim{}
	for _, c := range cs {
		out[c.Name] = c
	}
	return out
}

func (l *live) set(t *testing.T) *appsv1.StatefulSet {
	t.Helper()
	s, err := cluster.Get[appsv1.StatefulSet](t.Context(), l.c, cluster.StatefulSets, sample.Namespace, sample.StatefulSet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// patchSet changes the StatefulSet for one test, and back after it.
func (l *live) patchSet(t *testing.T, patch, back string) {
	t.Helper()
	write := func(patch string) {
		steptest.Written(t, func() error {
			_, err := l.c.Dynamic.Resource(cluster.StatefulSets).Namespace(sample.Namespace).
				Patch(context.WithoutCancel(t.Context()), sample.StatefulSet, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		})
	}
	write(patch)
	t.Cleanup(func() { write(back) })
}

// hold takes the lease for one test.
func (l *live) hold(t *testing.T, r *run.Run) {
	t.Helper()
	if s := l.lease(t, r, &leasestep.Handler{}, "acquire"); s.Phase != run.Held {
		t.Fatalf("%+v", s)
	}
	t.Cleanup(func() { l.release(t, *r) })
}

// release lets go of the lease when a test is over, so that the next one can have it.
func (l *live) release(t *testing.T, r run.Run) {
	t.Helper()
	sec, err := steptest.Retried((&leasestep.Handler{Env: l.env}).Handle)(context.WithoutCancel(t.Context()), "release", "ReleaseLease", r)
	if err != nil || sec.Phase != run.Released {
		t.Errorf("release: %+v, %v", sec, err)
	}
}
