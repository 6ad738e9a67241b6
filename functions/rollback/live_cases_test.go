package rollback_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	leasestep "fallbackchain.io/fallback/functions/lease"
	"fallbackchain.io/fallback/functions/rollback"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/run"
)

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
	// How long it waits is shown with a clock of their own by the lease's tests.
	if s := l.lease(t, &rec, &leasestep.Handler{Quiesce: 300 * time.Millisecond}, "acquire"); s.Phase != run.Held {
		t.Fatalf("%+v", s)
	}
	released := false
	t.Cleanup(func() {
		if !released {
			l.release(t, rec)
		}
	})
	if err := l.env.Guard(l.c, l.plan, drill.ID).Check(t.Context()); fault.From(err).Code != fault.LeaseLost {
		t.Errorf("the drill's guard: %v", err)
	}
	if s := l.lease(t, &other, &leasestep.Handler{}, "acquire"); s.Phase != run.Busy || s.Holder != rec.ID {
		t.Errorf("another recover: %+v", s)
	}
	if s := l.lease(t, &drill, &leasestep.Handler{}, "release"); s.Phase != run.Released || !strings.Contains(s.Message, rec.ID) {
		t.Errorf("release of the loser: %+v", s)
	}
	released = true
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
	queries := 0 // beside the heartbeat, the canary and the objective
	for _, c := range g.Checks {
		if slices.Contains([]plan.QueryKind{plan.SmokeQuery, plan.RowCountQuery, plan.ChecksumQuery}, plan.QueryKind(c.Kind)) {
			queries++
		}
	}
	if want := sample.Replicas * len(l.plan.Spec.Workload.Database.Queries); g.Phase != run.Passed || queries != want || g.PassedAt == nil || !strings.HasPrefix(g.Server, "PostgreSQL") {
		t.Errorf("%s, %d of its checks are queries, expected %d", g.Phase, queries, want)
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
	deployed := l.plan.Spec.Rollback.Snapshots
	l.plan.Spec.Rollback.Snapshots = plan.RollbackSnapshots{Source: plan.SnapshotsFresh}
	defer func() { l.plan.Spec.Rollback.Snapshots = deployed }()
	r := l.run(run.Recover)
	l.hold(t, &r)
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

func (l *live) nothing(t *testing.T) {
	r := l.run(run.Recover)
	if u := l.rollback(t, &r); u.Phase != run.NothingToUndo {
		t.Errorf("%+v", u)
	}
}

func (l *live) owned(t *testing.T) {
	r := l.run(run.Recover)
	l.hold(t, &r)
	l.patchSet(t, `{"metadata":{"labels":{"argocd.argoproj.io/instance":"shop-prod"}}}`, `{"metadata":{"labels":{"argocd.argoproj.io/instance":null}}}`)
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
	l.hold(t, &r)
	l.patchSet(t, `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete"}}}`, `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}`)
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
}

func (l *live) staysAtZero(t *testing.T) {
	no := false
	deployed := l.plan.Spec.Rollback.ScaleBack
	l.plan.Spec.Rollback.ScaleBack = &no
	t.Cleanup(func() { l.plan.Spec.Rollback.ScaleBack = deployed })
	r := l.run(run.Recover)
	l.hold(t, &r)
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
