package rollback_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	// Not t.TempDir: databases run as another user and must be able to pass through to their volumes.
	dir, err := os.MkdirTemp("", "fbr")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Up(ctx, stack.Options{Dir: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the stack's state is kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	d, err := sample.Deploy(ctx, sample.Options{Kubeconfig: s.Kubeconfig(), Dir: filepath.Join(dir, "shop"), StackDir: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	l := &live{kube: s.Kubeconfig()}
	if l.plan, err = plan.Load(d.Plan); err != nil {
		t.Fatal(err)
	}
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
	sec, err := h.Handle(t.Context(), "start", "Rollback", *r)
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

func (l *live) patchSet(t *testing.T, patch string) {
	t.Helper()
	_, err := l.c.Dynamic.Resource(cluster.StatefulSets).Namespace(sample.Namespace).Patch(t.Context(), sample.StatefulSet, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLive(t *testing.T) {
	l := newLive(t)
	t.Run("a drill is preempted by a recover", l.preempts)
	t.Run("the gate passes on good data", l.passes)
	t.Run("a drill's point leaves production alone", l.readsOnly)
	t.Run("fresh snapshots are taken and awaited", l.fresh)
	t.Run("nothing to undo", l.nothing)
	t.Run("an owner that the plan cannot pause", l.owned)
	t.Run("bad data is rolled back, also when the rollback is killed", l.badData)
	t.Run("the workload stays at zero when the plan says so", l.staysAtZero)
}

func (l *live) preempts(t *testing.T) {
	drill, rec, other := l.run(run.Drill), l.run(run.Recover), l.run(run.Recover)
	if s := l.lease(t, &drill, &leasestep.Handler{}, "acquire"); s.Phase != run.Held {
		t.Fatalf("%+v", s)
	}
	if s := l.lease(t, &rec, &leasestep.Handler{Quiesce: 300 * time.Millisecond}, "acquire"); s.Phase != run.Held || s.WaitedMS < 250 {
		t.Fatalf("%+v", s)
	}
	if err := l.env.Guard(l.c, l.plan, drill.ID).Check(t.Context()); fault.From(err).Code != fault.LeaseLost {
		t.Errorf("the drill's guard: %v", err)
	}
	if s := l.lease(t, &other, &leasestep.Handler{}, "acquire"); s.Phase != run.Busy || s.Holder != rec.ID {
		t.Errorf("another recover: %+v", s)
	}
	if s := l.lease(t, &drill, &leasestep.Handler{}, "release"); s.Phase != run.Released || !strings.Contains(s.Message, rec.ID) {
		t.Errorf("release of the loser: %+v", s)
	}
	if s := l.lease(t, &rec, &leasestep.Handler{}, "release"); s.Phase != run.Released {
		t.Errorf("%+v", s)
	}
	have, err := lease.Holder(t.Context(), l.c, rec.Lease.Name)
	if err != nil || !have.Exists || have.Holder != "" {
		t.Errorf("after the release: %+v, %v", have, err)
	}
}

func (l *live) passes(t *testing.T) {
	r := l.run(run.Recover)
	g := l.gate(t, &r)
	if want := sample.Replicas * len(l.plan.Spec.Workload.Database.Queries); g.Phase != run.Passed || len(g.Checks) != want || g.PassedAt == nil || !strings.HasPrefix(g.Server, "PostgreSQL") {
		t.Errorf("%d checks, expected %d", len(g.Checks), want)
	}
}

func (l *live) readsOnly(t *testing.T) {
	r := l.run(run.Drill)
	before, err := production.Read(t.Context(), l.c, sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	p := l.capture(t, &r)
	after, err := production.Read(t.Context(), l.c, sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if d := production.Diff(before, after); len(d) > 0 || p.ProductionDigest != after.Digest() || p.ProductionCount != len(after) || len(after) < 10 {
		t.Errorf("production changed: %v; digest %s of %d, want %s of %d", d, p.ProductionDigest, p.ProductionCount, after.Digest(), len(after))
	}
	if p.Phase != run.Captured || len(p.Claims) != sample.Replicas || len(p.Snapshots) != sample.Replicas || p.Replicas == nil || *p.Replicas != sample.Replicas {
		t.Errorf("%+v", p)
	}
}

func (l *live) fresh(t *testing.T) {
	l.plan.Spec.Rollback.Snapshots = plan.RollbackSnapshots{Source: plan.SnapshotsFresh}
	defer l.reload(l.plan.Spec.Rollback)()
	r := l.run(run.Recover)
	l.lease(t, &r, &leasestep.Handler{}, "acquire")
	defer l.lease(t, &r, &leasestep.Handler{}, "release")
	for range 2 { // the second call finds the same snapshots
		r.RollbackPoint = nil
		p := l.capture(t, &r)
		if p.Phase != run.Captured || len(p.Snapshots) != sample.Replicas {
			t.Fatalf("%+v", p)
		}
		for _, s := range p.Snapshots {
			if !s.Fresh || s.Handle == "" || !strings.HasPrefix(s.Name, r.ID) {
				t.Errorf("%+v", s)
			}
		}
	}
}

// reload returns what puts the plan's rollback back as it was deployed.
func (l *live) reload(plan.Rollback) func() {
	return func() {
		l.plan.Spec.Rollback.Snapshots = plan.RollbackSnapshots{Source: plan.SnapshotsExisting, Selector: map[string]string{sample.SnapshotLabel: sample.SnapshotValue}}
	}
}

func (l *live) nothing(t *testing.T) {
	r := l.run(run.Recover)
	if u := l.rollback(t, &r); u.Phase != run.NothingToUndo {
		t.Errorf("%+v", u)
	}
}

func (l *live) owned(t *testing.T) {
	r := l.run(run.Recover)
	l.lease(t, &r, &leasestep.Handler{}, "acquire")
	defer l.lease(t, &r, &leasestep.Handler{}, "release")
	l.patchSet(t, `{"metadata":{"labels":{"argocd.argoproj.io/instance":"shop-prod"}}}`)
	defer l.patchSet(t, `{"metadata":{"labels":{"argocd.argoproj.io/instance":null}}}`)
	l.capture(t, &r)
	r.Gate = &run.Gate{Phase: run.Refused, Reason: "ChecksFailed"}
	before := l.claims(t)
	if u := l.rollback(t, &r); u.Phase != run.Incomplete || u.Reason != string(fault.OwnerNotPaused) || !strings.Contains(u.Message, "Application/shop-prod") {
		t.Errorf("%+v", u)
	}
	for name, c := range l.claims(t) {
		if c.UID != before[name].UID {
			t.Errorf("claim %s was replaced", name)
		}
	}
	if n := *l.set(t).Spec.Replicas; n != sample.Replicas {
		t.Errorf("%d replicas", n)
	}
}

func (l *live) badData(t *testing.T) {
	r := l.run(run.Recover)
	l.lease(t, &r, &leasestep.Handler{}, "acquire")
	defer l.lease(t, &r, &leasestep.Handler{}, "release")
	l.patchSet(t, `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete"}}}`)
	l.exec(t, 1, "DELETE FROM orders WHERE id > 600")
	l.capture(t, &r)
	before := l.claims(t)
	if g := l.gate(t, &r); g.Phase != run.Refused || g.Reason != "ChecksFailed" {
		t.Fatalf("the gate says %s %s", g.Phase, g.Reason)
	}
	// Each of the first calls is killed after a little while, wherever it is then.
	h := &rollback.Handler{Env: l.env}
	for i := range 6 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(40*(i+1))*time.Millisecond)
		sec, err := h.Handle(ctx, "start", "Rollback", r)
		cancel()
		t.Logf("killed call %d: %s %s, %v", i, sec.Phase, sec.Message, err)
	}
	u := l.rollback(t, &r)
	if u.Phase != run.Undone || len(u.DataRestored) != sample.Replicas || len(u.Left) > 0 {
		t.Fatalf("%+v", u)
	}
	after := l.claims(t)
	for name, c := range before {
		if after[name].UID == c.UID || after[name].Spec.VolumeName == c.Spec.VolumeName || after[name].Labels[change.LabelRun] != "" {
			t.Errorf("claim %s: %+v", name, after[name])
		}
		pv, err := cluster.Get[corev1.PersistentVolume](t.Context(), l.c, cluster.PersistentVolumes, "", c.Spec.VolumeName)
		if err != nil || pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain || !strings.Contains(u.Message, pv.Name) {
			t.Errorf("the volume of claim %s is not kept, or not named: %v", name, err)
		}
	}
	s := l.set(t)
	if *s.Spec.Replicas != sample.Replicas || s.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled != "Delete" {
		t.Errorf("the StatefulSet is not as before: %+v", s.Spec.PersistentVolumeClaimRetentionPolicy)
	}
	if g := l.gate(t, &r); g.Phase != run.Passed {
		t.Errorf("after the rollback the gate says %s %s: %s", g.Phase, g.Reason, g.Message)
	}
	// Called once more, it finds everything done.
	r.Gate = &run.Gate{Phase: run.Refused, Reason: "ChecksFailed"}
	if u := l.rollback(t, &r); u.Phase != run.Undone || len(u.DataRestored) != sample.Replicas {
		t.Errorf("again: %+v", u)
	}
	l.patchSet(t, `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}`)
}

func (l *live) staysAtZero(t *testing.T) {
	no := false
	l.plan.Spec.Rollback.ScaleBack = &no
	r := l.run(run.Recover)
	l.lease(t, &r, &leasestep.Handler{}, "acquire")
	defer l.lease(t, &r, &leasestep.Handler{}, "release")
	p := l.capture(t, &r)
	// The snapshots' objects are gone: what is left is their handle.
	for _, s := range p.Snapshots[:1] {
		if err := l.c.Dynamic.Resource(cluster.VolumeSnapshots).Namespace(sample.Namespace).Delete(t.Context(), s.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.Gate = &run.Gate{Phase: run.NotReady}
	u := l.rollback(t, &r)
	if u.Phase != run.Undone || len(u.DataRestored) != sample.Replicas || !strings.Contains(u.Message, "stays at zero") {
		t.Errorf("%+v", u)
	}
	if n := *l.set(t).Spec.Replicas; n != 0 {
		t.Errorf("%d replicas, expected 0", n)
	}
}
