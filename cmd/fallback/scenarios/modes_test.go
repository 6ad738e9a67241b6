package scenarios

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/audit"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
)

// withPlan runs a changed copy of the sample's plan.
func withPlan(t *testing.T, w *world, edit func(string) string) testbed.Option {
	t.Helper()
	return testbed.Edited(t, w.Sample.Plan, edit)
}

// TestEvaluateChangesNothing reads the API server's own audit log.
func TestEvaluateChangesNothing(t *testing.T) {
	w := theWorld
	before, from := w.Versions(t, sample.Namespace), time.Now()
	res := w.Start(t, run.Evaluate)
	if res.End.Outcome != run.Evaluated {
		t.Fatalf("outcome %s (%s)", res.End.Outcome, res.End.Cause)
	}
	if after := w.Versions(t, sample.Namespace); !maps.Equal(before, after) {
		t.Error("something was changed")
	}
	es, err := audit.Read(w.Stack.AuditLog(), audit.Filter{UserAgent: "fallback-chain", From: from})
	if err != nil {
		t.Fatal(err)
	}
	if len(es) == 0 {
		t.Fatal("the audit log has no request of this run: it proves nothing")
	}
	for _, e := range es {
		if e.Changes() {
			t.Errorf("evaluate sent %s %s %s/%s", e.Verb, e.Object.Resource, e.Object.Namespace, e.Object.Name)
		}
	}
}

// TestDryRunSaysAndDoesNothing prints the mending of a broken shop and makes no change; a real run then makes them.
func TestDryRunSaysAndDoesNothing(t *testing.T) {
	w := theWorld
	defer w.Reset(t)
	w.Break(t, "attach-error")
	for _, mode := range []run.Mode{run.Recover, run.Drill} {
		t.Run(string(mode), func(t *testing.T) {
			from := time.Now()
			var said []string
			res := w.Start(t, mode, func(r *runner.Runner, q *runner.Request) {
				q.DryRun = true
				r.OnChange = func(i journal.Intent) { said = append(said, string(i.Verb)+" "+i.Object.String()) }
			})
			if res.DryRunEndedBefore == "" || len(said) == 0 {
				t.Errorf("ended before %q, said %v", res.DryRunEndedBefore, said)
			}
			es, err := audit.Read(w.Stack.AuditLog(), audit.Filter{UserAgent: "fallback-chain", From: from})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range es {
				if e.Changes() {
					t.Errorf("a dry run sent %s %s %s/%s", e.Verb, e.Object.Resource, e.Object.Namespace, e.Object.Name)
				}
			}
		})
	}
}

// TestWhatCannotRunIsSaidBeforeAnythingIsChanged is exit code 2: one clear message each.
func TestWhatCannotRunIsSaidBeforeAnythingIsChanged(t *testing.T) {
	w := theWorld
	for name, tc := range map[string]struct {
		edit func(string) string
		says string
	}{
		"a plan with mistakes": {func(s string) string { return strings.Replace(s, "engine: postgresql", "engine: oracle", 1) }, "engine"},
		"an unreachable cluster": {func(s string) string {
			return strings.Replace(s, w.Stack.Kubeconfig(), filepath.Join(w.Dir, "nowhere"), 1)
		}, "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			r := runner.New(w.Store)
			q := runner.Request{Mode: run.Recover, PlanPath: w.Sample.Plan}
			withPlan(t, w, tc.edit)(r, &q)
			_, err := r.Start(t.Context(), q)
			var early runner.CouldNotRun
			if !errors.As(err, &early) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want a refusal that says %q", err, tc.says)
			}
		})
	}
}
