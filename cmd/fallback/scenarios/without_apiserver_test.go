package scenarios

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/audit"
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
	if err := o.w.Stack.KillComponent(stack.APIServer); err != nil {
		o.t.Errorf("kill the API server: %v", err)
	}
}

func (o outage) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.t.Context()), time.Minute)
	defer cancel()
	if err := o.w.Stack.StartComponent(ctx, stack.APIServer); err != nil {
		o.t.Errorf("start the API server: %v", err)
	}
}

// short makes the plan's waits as short as a plan may have them.
func short(plan string) string {
	return strings.NewReplacer("apiServerWait: 60s", "apiServerWait: 5s", "controlPlaneReconcile: {budget: 90s", "controlPlaneReconcile: {budget: 10s",
		"scaleBack: true\n    budget: 3m", "scaleBack: true\n    budget: 10s").Replace(plan)
}

// TestAPIServerAway: what the API server's absence comes to, by when it begins. (The last test of the package: controllers notice
// that the API server is back only after up to a minute.)
func TestAPIServerAway(t *testing.T) {
	w := theWorld
	o := w.planOutage(t)
	t.Run("for eight seconds in the middle", func(t *testing.T) {
		w.Break(t, "attach-error")
		back := make(chan struct{})
		res := w.Start(t, run.Recover, testbed.At(walk.Entered, "AwaitVolumeAttachmentSync", func() {
			o.begin()
			time.AfterFunc(8*time.Second, func() { o.end(); close(back) })
		}))
		<-back
		if res.End.Outcome != run.Recovered {
			t.Errorf("outcome %s (%s)", res.End.Outcome, res.End.Cause)
		}
		if got := w.Counts(t, sample.Namespace); !maps.Equal(got, whole()) {
			t.Errorf("rows %v", got)
		}
		w.clean(t, res.Run.ID)
	})
	t.Run("after the first change", func(t *testing.T) { dirtyAndResolved(t, w, o) })
	for _, tc := range []struct {
		name       string
		mode       run.Mode
		kind       walk.EventKind
		away, back string
	}{
		{"in an evaluate", run.Evaluate, walk.Entered, "AssessOnly", ""},
		{"before the lease", run.Drill, walk.Exited, "Admit", ""},
		{"while the cluster is assessed", run.Recover, walk.Entered, "AssessCluster", "GiveUp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			abortedUnchanged(t, w, o, tc.mode, testbed.At(tc.kind, tc.away, o.begin), testbed.At(walk.Entered, tc.back, o.end))
		})
	}
}

// dirtyAndResolved: beyond every budget, what cannot be undone is Dirty, keeps the lease and is named, until a person resolves it.
func dirtyAndResolved(t *testing.T, w *world, o outage) {
	w.withoutService(t)
	plan := withPlan(t, w, func(s string) string { return noVolumes(short(s)) })
	res := w.Start(t, run.Recover, plan, testbed.At(walk.Entered, "AwaitControlPlaneReconcile", o.begin))
	id := res.Run.ID
	if res.End.Outcome != run.Dirty {
		t.Errorf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	if md := testbed.Read(t, res.Run.Report.Markdown); !strings.Contains(md, "Service shop/shop-db") {
		t.Errorf("the report does not name what is left:\n%s", md)
	}
	if code, _, stderr := w.cli(t, w.Store.Dir, "resolve", id); code != 2 || !strings.Contains(stderr, "connection refused") {
		t.Errorf("resolve while the API server is away: exit code %d, %s", code, stderr)
	}
	o.end()
	if got := w.holder(t); got != id {
		t.Errorf("the lease is held by %q, want the Dirty run", got)
	}
	second := w.Start(t, run.Recover)
	if second.End.Outcome != run.Aborted || second.Run.Lease == nil || !strings.Contains(second.Run.Lease.Message, "fallback resolve "+id) {
		t.Errorf("a second recover: outcome %s, lease %+v", second.End.Outcome, second.Run.Lease)
	}
	if got := w.Leftovers(t, id); !slices.Equal(got, []string{"services shop/shop-db"}) {
		t.Errorf("left are %v", got)
	}
	if code, out, _ := w.cli(t, w.Store.Dir, "resolve", id); code != 0 || !strings.Contains(out, "is resolved") {
		t.Errorf("resolve: exit code %d, %s", code, out)
	}
	if got := w.holder(t); got != "" {
		t.Errorf("the lease is held by %q after the run was resolved", got)
	}
	if code, _, stderr := w.cli(t, w.Store.Dir, "resolve", id); code != 2 || !strings.Contains(stderr, "was resolved at") {
		t.Errorf("resolve again: exit code %d, %s", code, stderr)
	}
}

// abortedUnchanged: before the first change, and beyond apiServerWait, the run ends Aborted.
func abortedUnchanged(t *testing.T, w *world, o outage, mode run.Mode, at ...func(*runner.Runner, *runner.Request)) {
	from := time.Now()
	res := w.Start(t, mode, append(at, withPlan(t, w, short))...)
	o.end()
	if res.End.Outcome != run.Aborted {
		t.Errorf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	if wait := 5 * time.Second; res.Took < wait {
		t.Errorf("the run ended after %s: the API server was not waited for", res.Took)
	}
	if es := entries(t, w.Store, res.Run.ID); len(es) > 0 {
		t.Errorf("the journal has %d changes", len(es))
	}
	es, err := audit.Read(w.Stack.AuditLog(), audit.Filter{UserAgent: "fallback-chain", From: from})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if e.Changes() && e.Object.Resource != "leases" {
			t.Errorf("the run sent %s %s %s/%s", e.Verb, e.Object.Resource, e.Object.Namespace, e.Object.Name)
		}
	}
	w.clean(t, res.Run.ID)
}
