package prove_test

import (
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/prove"
)

// failover is a small graph with everything that a failover adds: fence, promote, gate, approval, shift, verify, revert.
func failover() *graph.Graph {
	pass := func(name, outcome, next string) graph.Node {
		return graph.Node{Name: name, Kind: graph.Pass, Result: map[string]string{"name": outcome}, ResultPath: "$.outcome", Next: next}
	}
	undo := []graph.EffectKind{graph.RollsBack}
	return &graph.Graph{
		Name: "failover", Start: "Admit", Mode: "$.mode", Modes: []string{"failover"}, Outcome: "$.outcome.name",
		ServiceRetry: graph.Retry{Errors: []string{"Lambda.ServiceException"}, MaxAttempts: 2, Interval: time.Second, Backoff: 2},
		FaultRetry:   graph.Retry{Errors: []string{"Throttled"}, MaxAttempts: 2, Interval: time.Second, Backoff: 2},
		Classes:      graph.Classes{Retry: []string{"Throttled"}, Dirty: []string{"LeaseLost"}},
		Timing:       graph.Timing{Slice: 45 * time.Second, MinRound: 40 * time.Second, Function: 60 * time.Second, Task: 75 * time.Second, Machine: 4 * time.Hour, Lease: 5 * time.Hour},
		Caps:         map[string]time.Duration{"spec.traffic.budget": 15 * time.Minute},
		Nodes: []graph.Node{
			{Name: "Admit", Kind: graph.Task, Call: "admit/admit", Section: "admit", Next: "TakeLease", Fault: "Refused"},
			{Name: "TakeLease", Kind: graph.Task, Call: "lease/acquire", Section: "lease", Fault: "OutcomeAborted", Next: "Capture",
				Effects: []graph.Effect{{Kind: graph.TakesLease}}},
			{Name: "Capture", Kind: graph.Task, Call: "rollbackpoint/capture", Section: "rollbackpoint", Fault: "OutcomeAborted", Next: "Fence",
				Effects: []graph.Effect{{Kind: graph.OpensJournal}, {Kind: graph.CapturesRollbackPoint}}},
			{Name: "Fence", Kind: graph.Task, Call: "fence/apply", Section: "fence", Fault: "Rollback", Next: "Promote",
				Effects: []graph.Effect{{Kind: graph.Fences, Undo: undo}}},
			{Name: "Promote", Kind: graph.Task, Call: "promote/start", Section: "promote", Fault: "Rollback", Next: "Gate",
				Effects: []graph.Effect{{Kind: graph.Promotes, Undo: undo}}},
			{Name: "Gate", Kind: graph.Task, Call: "gate/transaction", Section: "gate", Fault: "Rollback",
				On:      []graph.On{{Phase: "Passed", Next: "Approve"}, {Phase: "Refused", Next: "Rollback"}},
				Effects: []graph.Effect{{Kind: graph.PassesGate, When: []string{"Passed"}}}},
			{Name: "Approve", Kind: graph.Task, Call: "approval/ask", Section: "approval", Fault: "Rollback", Next: "Shift",
				Effects: []graph.Effect{{Kind: graph.AsksApproval}}},
			{Name: "Shift", Kind: graph.Task, Call: "traffic/shift", Section: "traffic", Fault: "Revert", Next: "VerifyTraffic",
				Effects: []graph.Effect{{Kind: graph.ShiftsTraffic, Undo: []graph.EffectKind{graph.RevertsTraffic}}}},
			{Name: "VerifyTraffic", Kind: graph.Await, Call: "traffic/verify", Section: "traffic", Budget: "spec.traffic.budget", Fault: "Revert",
				On:      []graph.On{{Phase: "Verified", Next: "OutcomeRecovered"}, {Phase: "Failed", Next: "Revert"}},
				Effects: []graph.Effect{{Kind: graph.VerifiesTraffic, When: []string{"Verified"}}}},
			{Name: "Revert", Kind: graph.Task, Call: "traffic/revert", Section: "traffic", Fault: "OutcomeDirty", Next: "Rollback",
				Effects: []graph.Effect{{Kind: graph.RevertsTraffic}}},
			{Name: "Rollback", Kind: graph.Task, Call: "rollback/start", Section: "rollback", Fault: "OutcomeDirty", Next: "OutcomeRolledBack",
				Effects: []graph.Effect{{Kind: graph.RollsBack}}},
			pass("OutcomeRecovered", "Recovered", "Release"),
			pass("OutcomeRolledBack", "RolledBack", "Release"),
			pass("OutcomeAborted", "Aborted", "Release"),
			pass("OutcomeDirty", "Dirty", "Report"),
			{Name: "Release", Kind: graph.Task, Call: "lease/release", Section: "lease", Fault: "OutcomeDirty", Next: "Report",
				Effects: []graph.Effect{{Kind: graph.ReleasesLease}}},
			{Name: "Report", Kind: graph.Task, Call: "report/report", Section: "report", Fault: "Dirty", Next: "ByOutcome",
				Effects: []graph.Effect{{Kind: graph.Reports}}},
			{Name: "ByOutcome", Kind: graph.Choice, Rules: []graph.Rule{{When: cond.Equals("$.outcome.name", "Recovered"), Next: "Recovered"}}, Default: "Dirty"},
			{Name: "Recovered", Kind: graph.Succeed},
			{Name: "Refused", Kind: graph.Fail},
			{Name: "Dirty", Kind: graph.Fail},
		},
	}
}

func proveSmall(t *testing.T, g *graph.Graph) prove.Report {
	t.Helper()
	m, err := failover().Expand()
	if err != nil {
		t.Fatal(err)
	}
	codes := graph.Classes{Retry: []string{"Throttled"}}
	return mustProve(t, prove.Input{Graph: g, Functions: m.Functions(), Codes: codes})
}

func TestTrafficAndPromotion(t *testing.T) {
	for _, c := range []struct {
		name    string
		mutate  func(g *graph.Graph)
		rule    string
		message string
		witness string
	}{
		{"holds", func(*graph.Graph) {}, "", "", ""},
		{"a shift without a gate", func(g *graph.Graph) { g.Node("Gate").Fault = "Approve" },
			"gate-decides", "Shift shifts traffic without a passed gate", "Admit TakeLease Capture Fence Promote Gate Approve Shift"},
		{"a shift that failed is not reverted", func(g *graph.Graph) { send(g, "VerifyTraffic", "Failed", "Rollback") },
			"gate-decides", "a run ends Dirty with traffic shifted and neither verified nor reverted",
			"Admit TakeLease Capture Fence Promote Gate GatePhase Approve Shift VerifyTraffic VerifyTrafficPhase Rollback OutcomeDirty Report Dirty"},
		{"a revert that failed is called rolled back", func(g *graph.Graph) { g.Node("Revert").Fault = "Rollback" },
			"gate-decides", "a run ends RolledBack with traffic shifted", "Admit TakeLease Capture Fence Promote Gate GatePhase Approve Shift Revert Rollback OutcomeRolledBack Release Report Dirty"},
		{"the fence stays after a promotion that failed", func(g *graph.Graph) { g.Node("Promote").Fault = "OutcomeDirty" },
			"changes-can-be-undone", "Promote promotes storage and cannot reach a compensation after Unheard.Of", "Admit TakeLease Capture Fence Promote OutcomeDirty"},
		{"a fence without a rollback point", func(g *graph.Graph) { g.Node("Capture").Fault = "Fence" },
			"changes-can-be-undone", "Fence fences the old primary without a journal", "Admit TakeLease Capture Fence"},
		{"a shift in a drill", func(g *graph.Graph) { g.Modes = append(g.Modes, "drill") },
			"modes-keep-their-bounds", "Fence fences the old primary in a drill", "Admit TakeLease Capture Fence"},
		{"a change in a refused mode", func(g *graph.Graph) { g.Refused = []string{"failback"} },
			"modes-keep-their-bounds", "TakeLease takes the lease in mode failback, which is refused", "Admit TakeLease"},
		{"an approval that nobody waits for", func(g *graph.Graph) { g.Node("Approve").Effects = nil; g.ServiceRetry.MaxAttempts = 0 },
			"tasks-are-guarded", "Admit does not retry Lambda.ServiceException", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := failover()
			c.mutate(g)
			r := proveSmall(t, g)
			for _, v := range r.Verdicts {
				switch {
				case v.Name != c.rule:
					// A drill with a fence breaks more than its bounds; only the named rule is looked at there.
					for _, f := range v.Failures {
						if c.rule != "modes-keep-their-bounds" {
							t.Errorf("breaks %s too: %s", v.Name, f)
						}
					}
				case len(v.Failures) == 0:
					t.Errorf("%s holds", c.rule)
				case !strings.HasPrefix(v.Failures[0].Message, c.message) || path(v.Failures[0]) != c.witness:
					t.Errorf("%s; want %s by %s", v.Failures[0], c.message, c.witness)
				}
			}
		})
	}
}

func TestAGraphThatCannotBeExploredProvesNothing(t *testing.T) {
	g := failover()
	g.Node("ByOutcome").Rules[0].When = cond.Equals("$.weather", "bad")
	r := proveSmall(t, g)
	for _, v := range r.Verdicts {
		static := v.Number == 8 || v.Number == 11
		if static == (len(v.Failures) > 0) {
			t.Errorf("%s: %v", v.Name, v.Failures)
		}
	}
	if r.OK() {
		t.Error("OK")
	}
}

func TestAGraphThatCannotBeExpandedIsAnError(t *testing.T) {
	for name, mutate := range map[string]func(*graph.Graph){
		"call":  func(g *graph.Graph) { g.Node("Admit").Call = "admit" },
		"twice": func(g *graph.Graph) { g.Nodes = append(g.Nodes, g.Nodes[0]) },
		"kind":  func(g *graph.Graph) { g.Nodes[0].Kind = "Map" },
		"name":  func(g *graph.Graph) { g.Nodes[0].Name = "" },
	} {
		g := failover()
		mutate(g)
		if _, err := prove.Prove(prove.Input{Graph: g}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkProve(b *testing.B) {
	in := input(b, nil)
	for b.Loop() {
		in.Graph = realGraph()
		if !mustProve(b, in).OK() {
			b.Fatal("does not hold")
		}
	}
}
