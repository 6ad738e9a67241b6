package scenarios

import (
	"maps"
	"strings"
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/run"
)

// TestDrill restores the shop beside itself and leaves production as it was, to the resourceVersion.
func TestDrill(t *testing.T) {
	w := theWorld
	before := w.Versions(t, sample.Namespace)
	if len(before) < 20 {
		t.Fatalf("only %d objects are compared: %v", len(before), before)
	}
	res := w.Start(t, run.Drill)
	if res.End.Outcome != run.Recovered {
		t.Fatalf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	if after := w.Versions(t, sample.Namespace); !maps.Equal(before, after) {
		for k, v := range after {
			if before[k] != v {
				t.Errorf("production was touched: %s had resourceVersion %q, has %q", k, before[k], v)
			}
		}
		for k := range before {
			if _, ok := after[k]; !ok {
				t.Errorf("production was touched: %s is gone", k)
			}
		}
	}
	if left := w.Leftovers(t, res.Run.ID); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if g := res.Run.Gate; g == nil || len(g.Checks) == 0 {
		t.Error("the gate asked nothing")
	}
	md := testbed.Read(t, res.Run.Report.Markdown)
	if first, _, _ := strings.Cut(md, "| |"); !strings.Contains(first, "enforcement is unproven") {
		t.Errorf("the report's first lines do not say that enforcement is unproven:\n%s", first)
	}
}

// TestDrillWhenProductionIsGone restores what no longer exists from the inventory and the snapshots that survived.
func TestDrillWhenTheGateSaysNo(t *testing.T) {
	w := theWorld
	defer w.Reset(t)
	// The plan expects more orders than were ever there: the restored copy is refused, torn down, and reported.
	res := w.Start(t, run.Drill, withPlan(t, w, func(text string) string {
		return strings.Replace(text, "expect: {atLeast: ", "expect: {atLeast: 9", 1)
	}))
	if res.End.Outcome != run.RolledBack || res.Run.Gate == nil || res.Run.Gate.Phase != run.Refused {
		t.Errorf("outcome %s, gate %+v", res.End.Outcome, res.Run.Gate)
	}
	if left := w.Leftovers(t, res.Run.ID); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
