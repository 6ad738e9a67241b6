package scenario_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
	"fallbackchain.io/fallback/statemachine/walk/scenario"
)

func generate(t testing.TB) []scenario.Scenario {
	t.Helper()
	list, err := scenario.Generate(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Each scenario, walked, takes the path that the product of states and outcomes predicted.
func TestEveryScenarioWalksAsPredicted(t *testing.T) {
	for _, s := range generate(t) {
		t.Run(s.Name, func(t *testing.T) {
			now := scenario.Start()
			res, err := walk.Walk(t.Context(), walk.Options{Graph: chain.Fallback(), Handlers: s.Handlers(), Now: func() time.Time { return now },
				Sleep: func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil }}, s.Input)
			if err != nil {
				t.Fatal(err)
			}
			var path []string
			for _, v := range res.Path {
				path = append(path, v.State)
			}
			if !slices.Equal(path, s.Path) || res.Terminal == "" {
				t.Errorf("walked %v (%s %s)\nwant   %v", path, res.Error, res.Cause, s.Path)
			}
		})
	}
}

func TestEveryEdgeStateAndCodeHasAScenario(t *testing.T) {
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	edges, codes, names := map[[2]string]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range generate(t) {
		if names[s.Name] {
			t.Errorf("two scenarios are named %q", s.Name)
		}
		names[s.Name] = true
		for i := 0; i+1 < len(s.Path); i++ {
			edges[[2]string{s.Path[i], s.Path[i+1]}] = true
		}
		for _, a := range s.Answers {
			codes[a.Error] = true
		}
	}
	for i := range m.States {
		for _, to := range m.States[i].Targets() {
			if e := [2]string{m.States[i].Name, to}; !edges[e] && e != [2]string{"RecoverOrDrill", "OutcomeAborted"} {
				t.Errorf("no scenario goes from %s to %s", e[0], e[1])
			}
		}
	}
	for _, class := range []fault.Class{fault.Retry, fault.Demote, fault.Abort, fault.Rollback, fault.Dirty} {
		for _, c := range fault.Codes(class) {
			if !codes[string(c)] {
				t.Errorf("no scenario fails with %s", c)
			}
		}
	}
	t.Logf("%d scenarios", len(names))
}

func TestACallOutOfOrderIsRefused(t *testing.T) {
	s := generate(t)[0]
	h := s.Handlers()[s.Answers[0].Function]
	if _, err := h(t.Context(), []byte(`{"op":"other","state":"Admit"}`)); err == nil {
		t.Error("no error")
	}
}

func TestAGraphThatCannotBeExpandedHasNoScenarios(t *testing.T) {
	g := chain.Fallback()
	g.Nodes = append(g.Nodes, graph.Node{Name: "Admit", Kind: graph.Succeed})
	if _, err := scenario.Generate(g); err == nil {
		t.Error("no error")
	}
}
