package graph_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

func ladder() *graph.Graph {
	return &graph.Graph{
		Name: "ladder", Start: "Look", Timing: graph.Timing{Task: time.Minute},
		Classes: graph.Classes{Demote: []string{"NotQualified"}, Rollback: []string{"IsolationBroken"}, Abort: []string{"PlanInvalid", "Conflict"}, Dirty: []string{"LeaseLost"}},
		Nodes: []graph.Node{
			{Name: "Look", Kind: graph.Await, Call: "assess/assess", Section: "assess", Budget: "b", On: []graph.On{{Phase: "Assessed", Next: "Choose"}}, Fault: "Lost"},
			{Name: "Choose", Kind: graph.Choice, Default: "Lost", Rules: []graph.Rule{
				{When: cond.Equals("$.x", "high"), Next: "High"}, {When: cond.Equals("$.x", "low"), Next: "BeforeLow", Tier: "Low"}}},
			{Name: "High", Kind: graph.Tier, Rank: 2, Call: "high/start", AwaitName: "AwaitHigh", AwaitCall: "high/await", Section: "high", Budget: "b",
				On: []graph.On{{Phase: "Succeeded", Next: "Won"}, {Phase: "Failed"}}, Demote: &graph.Demotion{Assess: "Look", Choose: "Choose"},
				Stop: "Lost", Dirty: "Lost", FaultPath: "$.demotions.High.fault", Effects: []graph.Effect{{Kind: graph.ChangesTarget}}},
			{Name: "BeforeLow", Kind: graph.Pass, Next: "Low"},
			{Name: "Low", Kind: graph.Tier, Rank: 1, Call: "low/start", AwaitName: "AwaitLow", AwaitCall: "low/await", Section: "low", Budget: "b",
				On: []graph.On{{Phase: "Succeeded", Next: "Won"}, {Phase: "Failed", Next: "Lost"}}, Fault: "Lost"},
			{Name: "Won", Kind: graph.Succeed},
			{Name: "Lost", Kind: graph.Fail},
		},
	}
}

func TestATierExpandsToStartAwaitAndTheWayDown(t *testing.T) {
	m, err := ladder().Expand()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range m.States {
		names = append(names, s.Name)
	}
	want := "Look LookPhase Choose High AwaitHigh AwaitHighPhase DemoteHigh AssessAfterHigh AssessAfterHighPhase ChooseAfterHigh BeforeLow Low AwaitLow AwaitLowPhase Won Lost"
	if got := strings.Join(names, " "); got != want {
		t.Fatalf("states %s\nwant   %s", got, want)
	}
	for _, c := range []struct{ state, targets string }{
		{"High", "AwaitHigh Lost DemoteHigh"},
		{"AwaitHigh", "AwaitHighPhase Lost DemoteHigh"},
		{"AwaitHighPhase", "AwaitHigh Won DemoteHigh"},
		{"DemoteHigh", "AssessAfterHigh"},
		{"AssessAfterHighPhase", "AssessAfterHigh ChooseAfterHigh Lost"},
		{"ChooseAfterHigh", "BeforeLow Lost"},
		{"Choose", "High BeforeLow Lost"},
		{"AwaitLowPhase", "AwaitLow Won Lost"},
		{"Lost", ""},
	} {
		s, ok := m.State(c.state)
		if !ok || strings.Join(s.Targets(), " ") != c.targets {
			t.Errorf("%s leads to %v; want %s", c.state, s.Targets(), c.targets)
		}
	}
}

func TestATiersStates(t *testing.T) {
	m, err := ladder().Expand()
	if err != nil {
		t.Fatal(err)
	}
	start, _ := m.State("High")
	await, _ := m.State("AwaitHigh")
	down, _ := m.State("DemoteHigh")
	if start.Awaits || start.Budget != "" || start.Rank != 2 || start.Effects[0].Kind != graph.EntersTier || !start.Changes() || start.Timeout != time.Minute {
		t.Errorf("start %+v", start)
	}
	if !await.Awaits || await.Budget != "b" || await.Rank != 0 || await.Node != "High" || !slices.Equal(await.Phases, []string{"Running", "Succeeded", "Failed"}) {
		t.Errorf("await %+v", await)
	}
	if down.InputPath != "$.assess" || down.ResultPath != "$.demotions.High.assess" {
		t.Errorf("way down %+v", down)
	}
	var catches []string
	for _, c := range start.Catch {
		catches = append(catches, strings.Join(c.Errors, ",")+">"+c.Next+"@"+string(c.ResultPath))
	}
	want := []string{"LeaseLost>Lost@$.demotions.High.fault", "Conflict,IsolationBroken,PlanInvalid>Lost@$.demotions.High.fault",
		"NotQualified>DemoteHigh@$.demotions.High.fault", "States.ALL>DemoteHigh@$.demotions.High.fault"}
	if !slices.Equal(catches, want) {
		t.Errorf("catches %q", catches)
	}
	look, _ := m.State("Look")
	if look.Catch[0].ResultPath != "$.faults.assess" {
		t.Errorf("catch of a task that is no tier writes %s", look.Catch[0].ResultPath)
	}
	if got := m.Functions(); !slices.Equal(got, []string{"assess", "high", "low"}) {
		t.Errorf("functions %v", got)
	}
}

func TestExpandingLeavesTheGraphAsItWas(t *testing.T) {
	g := ladder()
	for range 2 {
		if _, err := g.Expand(); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.Node("High"); n.On[1].Next != "" || len(n.Effects) != 1 || g.Node("Look").On[0].Next != "Choose" {
		t.Errorf("changed: %+v", n)
	}
}

func TestWhatCannotBeExpanded(t *testing.T) {
	for want, mutate := range map[string]func(*graph.Graph){
		`call "low" is not function/op`:       func(g *graph.Graph) { g.Node("Low").Call = "low" },
		`call "/await" is not function/op`:    func(g *graph.Graph) { g.Node("Low").AwaitCall = "/await" },
		"two states are named AwaitHigh":      func(g *graph.Graph) { g.Node("Low").AwaitName = "AwaitHigh" },
		"demotes by Look and Pick, which are": func(g *graph.Graph) { g.Node("High").Demote.Choose = "Pick" },
		`kind "Map" is unknown`:               func(g *graph.Graph) { g.Node("Won").Kind = "Map" },
		"a state has no name":                 func(g *graph.Graph) { g.Node("Won").Name = "" },
	} {
		g := ladder()
		mutate(g)
		if _, err := g.Expand(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestApprovalIsNotRetried(t *testing.T) {
	g := ladder()
	g.Node("Look").Effects = []graph.Effect{{Kind: graph.AsksApproval}}
	m, err := g.Expand()
	if err != nil {
		t.Fatal(err)
	}
	look, _ := m.State("Look")
	high, _ := m.State("High")
	if len(look.Retry) != 0 || len(high.Retry) != 2 {
		t.Errorf("retries %d and %d", len(look.Retry), len(high.Retry))
	}
}

func TestMissingStates(t *testing.T) {
	m, err := ladder().Expand()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := m.State("Nowhere"); ok || m.Index("Nowhere") != -1 || m.Node("Nowhere") != nil {
		t.Error("a state that is not there was found")
	}
}
