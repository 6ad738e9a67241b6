package scenarios

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// outage is an API server that goes away and comes back.
type outage struct {
	t *testing.T
	w *world
}

// planOutage promises that the API server is there again when the test ends.
func (w *world) planOutage(t *testing.T) outage {
	t.Helper()
	o := outage{t, w}
	t.Cleanup(o.end)
	return o
}

// begin kills the API server, as a crash would: a clean end takes ten seconds, for the watches.
func (o outage) begin() {
	if err := o.w.stack.KillComponent(stack.APIServer); err != nil {
		o.t.Errorf("kill the API server: %v", err)
	}
}

func (o outage) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.t.Context()), time.Minute)
	defer cancel()
	if err := o.w.stack.StartComponent(ctx, stack.APIServer); err != nil {
		o.t.Errorf("start the API server: %v", err)
	}
}

// on calls f at an event of the run, before the run goes on.
func on(kind walk.EventKind, state string, f func()) func(*runner.Runner, *runner.Request) {
	return func(r *runner.Runner, _ *runner.Request) {
		next, done := r.OnEvent, false
		r.OnEvent = func(e walk.Event) {
			next(e)
			if e.Kind == kind && e.State == state && !done {
				done = true
				f()
			}
		}
	}
}

// short makes the plan's waits as short as a plan may have them.
func short(plan string) string {
	return strings.NewReplacer("apiServerWait: 60s", "apiServerWait: 5s", "volumeAttachmentSync: {budget: 4m", "volumeAttachmentSync: {budget: 10s",
		"scaleBack: true\n    budget: 3m", "scaleBack: true\n    budget: 10s").Replace(plan)
}

// TestAPIServerAwayInTheMiddle: the API server is away for eight seconds while the tier waits. The run sits it out.
func TestAPIServerAwayInTheMiddle(t *testing.T) {
	w := theWorld
	defer w.reset(t)
	w.breakIt(t, "attach-error")
	o := w.planOutage(t)
	back := make(chan struct{})
	res := w.start(t, run.Recover, on(walk.Entered, "AwaitVolumeAttachmentSync", func() {
		o.begin()
		time.AfterFunc(8*time.Second, func() { o.end(); close(back) })
	}))
	<-back
	if res.End.Outcome != run.Recovered {
		t.Errorf("outcome %s (%s)", res.End.Outcome, res.End.Cause)
	}
	if got := w.counts(t, sample.Namespace); !maps.Equal(got, whole()) {
		t.Errorf("rows %v", got)
	}
	w.clean(t, res.Run.ID)
}

// TestAPIServerAwayBeforeTheFirstChange: beyond apiServerWait the run ends Aborted, having changed nothing.
func TestAPIServerAwayBeforeTheFirstChange(t *testing.T) {
	w := theWorld
	for _, tc := range []struct {
		name       string
		mode       run.Mode
		kind       walk.EventKind
		away, back string
	}{
		{"an evaluate", run.Evaluate, walk.Entered, "AssessOnly", ""},
		{"before the lease", run.Recover, walk.Exited, "Admit", ""},
		{"while the cluster is assessed", run.Recover, walk.Entered, "AssessCluster", "GiveUp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, from, before := w.planOutage(t), time.Now(), w.versions(t, sample.Namespace)
			opts := []func(*runner.Runner, *runner.Request){withPlan(t, w, short), on(tc.kind, tc.away, o.begin)}
			if tc.back != "" {
				opts = append(opts, on(walk.Entered, tc.back, o.end))
			}
			res := w.start(t, tc.mode, opts...)
			o.end()
			if res.End.Outcome != run.Aborted {
				t.Errorf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
			}
			if es := entries(t, w.store, res.Run.ID); len(es) > 0 {
				t.Errorf("the journal has %d changes", len(es))
			}
			if after := w.versions(t, sample.Namespace); !maps.Equal(before, after) {
				t.Error("something was changed")
			}
			if res.Took < 5*time.Second {
				t.Errorf("the API server was not waited for: the run ended after %s", res.Took)
			}
			_ = from
			w.clean(t, res.Run.ID)
		})
	}
}

// TestAPIServerAwayAfterTheFirstChange: what cannot be undone is Dirty, keeps the lease, and is resolved by a person.
func TestAPIServerAwayAfterTheFirstChange(t *testing.T) {
	w := theWorld
	defer w.reset(t)
	w.breakIt(t, "attach-error")
	o := w.planOutage(t)
	edit := withPlan(t, w, short)
	res := w.start(t, run.Recover, edit, on(walk.Entered, "AwaitVolumeAttachmentSync", o.begin))
	id := res.Run.ID
	if res.End.Outcome != run.Dirty {
		t.Errorf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	if code, _, stderr := w.cli(t, w.store.Dir, "resolve", id); code != 2 || !strings.Contains(stderr, "connection refused") {
		t.Errorf("resolve while the API server is away: exit code %d, %s", code, stderr)
	}
	o.end()
	if got := w.holder(t); got != id {
		t.Errorf("the lease is held by %q, want the Dirty run", got)
	}
	second := w.start(t, run.Recover)
	if second.End.Outcome != run.Aborted || second.Run.Lease == nil || !strings.Contains(second.Run.Lease.Message, "fallback resolve "+id) {
		t.Errorf("a second recover: outcome %s, lease %+v", second.End.Outcome, second.Run.Lease)
	}
	if code, out, _ := w.cli(t, w.store.Dir, "resolve", id); code != 0 || !strings.Contains(out, "is resolved") {
		t.Errorf("resolve: exit code %d, %s", code, out)
	}
	w.clean(t, id)
	if code, _, stderr := w.cli(t, w.store.Dir, "resolve", id); code != 2 || !strings.Contains(stderr, "was resolved at") {
		t.Errorf("resolve again: exit code %d, %s", code, stderr)
	}
}
