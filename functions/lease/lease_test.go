package lease

import (
	"context"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

func world(t *testing.T, mode run.Mode) *steptest.World {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}
	p.Spec.Workload = plan.Workload{Namespace: "shop", StatefulSet: "pg"}
	return steptest.New(t, mode, p)
}

// takenBy makes another run hold the lease.
func takenBy(w *steptest.World, id string, mode run.Mode) {
	w.Helper()
	a, err := lease.TryAcquire(w.Context(), w.Cluster, lease.Claim{Name: "shop.pg", Run: id, Mode: mode, Plan: "shop", Now: w.Now(), Quiesce: time.Minute})
	if err != nil || a.Verdict != lease.Held {
		w.Fatalf("%+v, %v", a, err)
	}
}

func call(w *steptest.World, h *Handler, op string, within time.Duration) run.Lease {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	h.Env = w.Env
	l, err := h.Handle(ctx, op, "TakeLease", w.Run)
	if err != nil {
		w.Fatal(err)
	}
	w.Run.Lease = &l
	return l
}

func holder(w *steptest.World) string {
	w.Helper()
	s, err := lease.Holder(w.Context(), w.Cluster, "shop.pg")
	if err != nil {
		w.Fatal(err)
	}
	return s.Holder
}

const soon = 50 * time.Millisecond

func TestAcquireAndRelease(t *testing.T) {
	w := world(t, run.Drill)
	for range 2 {
		if l := call(w, &Handler{}, "acquire", time.Minute); l.Phase != run.Held || l.Name != "shop.pg" || l.AcquiredAt == nil || !l.AcquiredAt.Equal(steptest.Start) {
			t.Fatalf("%+v", l)
		}
	}
	for range 2 {
		if l := call(w, &Handler{}, "release", time.Minute); l.Phase != run.Released || holder(w) != "" {
			t.Fatalf("%+v", l)
		}
	}
}

func TestBusyNamesTheHolder(t *testing.T) {
	for _, tc := range []struct{ mine, theirs run.Mode }{{run.Drill, run.Drill}, {run.Drill, run.Recover}, {run.Recover, run.Recover}} {
		w := world(t, tc.mine)
		takenBy(w, "other-1", tc.theirs)
		l := call(w, &Handler{HolderDead: func(context.Context, string) bool { return true }}, "acquire", time.Minute)
		if l.Phase != run.Busy || l.Holder != "other-1" || !strings.Contains(l.Message, "fallback janitor other-1") || holder(w) != "other-1" {
			t.Errorf("%s against %s: %+v", tc.mine, tc.theirs, l)
		}
		if l := call(w, &Handler{}, "release", time.Minute); l.Phase != run.Released || holder(w) != "other-1" {
			t.Errorf("release of another's lease: %+v", l)
		}
	}
}

func TestPreemption(t *testing.T) {
	t.Run("waits out the longest function", func(t *testing.T) {
		w := world(t, run.Recover)
		takenBy(w, "drill-1", run.Drill)
		if l := call(w, &Handler{}, "acquire", soon); l.Phase != run.Running || l.Holder != "drill-1" || l.Rounds != 1 {
			t.Fatalf("%+v", l)
		}
		w.Pass(limits.FunctionTimeout - time.Millisecond)
		if l := call(w, &Handler{}, "acquire", soon); l.Phase != run.Running {
			t.Fatalf("%+v", l)
		}
		w.Pass(time.Millisecond)
		if l := call(w, &Handler{}, "acquire", time.Minute); l.Phase != run.Held || holder(w) != w.Run.ID {
			t.Fatalf("%+v", l)
		}
	})
	t.Run("a holder that is proven dead is not waited for", func(t *testing.T) {
		w := world(t, run.Recover)
		takenBy(w, "drill-1", run.Drill)
		asked := ""
		l := call(w, &Handler{HolderDead: func(_ context.Context, id string) bool { asked = id; return true }}, "acquire", time.Minute)
		if l.Phase != run.Held || asked != "drill-1" {
			t.Errorf("%+v, asked about %q", l, asked)
		}
	})
	t.Run("a drill that releases by itself ends the wait", func(t *testing.T) {
		w := world(t, run.Recover)
		takenBy(w, "drill-1", run.Drill)
		if l := call(w, &Handler{}, "acquire", soon); l.Phase != run.Running {
			t.Fatalf("%+v", l)
		}
		errs := make(chan error, 1)
		go func() { _, err := lease.Clear(w.Context(), w.Cluster, "shop.pg", "drill-1"); errs <- err }()
		l := call(w, &Handler{}, "acquire", 20*time.Second)
		if err := <-errs; err != nil || l.Phase != run.Held {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

func TestDryRunTakesNothing(t *testing.T) {
	w := world(t, run.Recover)
	w.Run.DryRun = true
	for _, op := range []string{"acquire", "release"} {
		if l := call(w, &Handler{}, op, time.Minute); l.Phase != map[string]run.Phase{"acquire": run.Held, "release": run.Released}[op] {
			t.Errorf("%+v", l)
		}
	}
	if writes := w.Writes(); len(writes) > 0 {
		t.Errorf("a dry run wrote %v", writes)
	}
	takenBy(w, "recover-1", run.Recover)
	if l := call(w, &Handler{}, "acquire", time.Minute); l.Phase != run.Busy {
		t.Errorf("%+v", l)
	}
}

func TestUnknownOperation(t *testing.T) {
	w := world(t, run.Recover)
	if _, err := (&Handler{Env: w.Env}).Handle(t.Context(), "steal", "TakeLease", w.Run); fault.From(err).Code != fault.Internal {
		t.Errorf("%v", err)
	}
}
