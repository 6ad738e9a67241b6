package space_test

import (
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/space"
)

type none struct{}

func explore(t testing.TB, g *graph.Graph) *space.Space[none] {
	t.Helper()
	m, err := g.Expand()
	if err != nil {
		t.Fatal(err)
	}
	md, err := space.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return space.Explore(md, slices.Concat(g.Modes, g.Refused), none{}, func(int, string, none) none { return none{} },
		func(int, string, none, space.Outcome) none { return none{} })
}

// The only edges of the graph that no run can take are those that keep a choice closed for modes that never reach it.
func TestEveryEdgeIsTakenButTheNamed(t *testing.T) {
	sp := explore(t, chain.Fallback())
	taken := map[string]bool{}
	for i, out := range sp.Out {
		for _, e := range out {
			if e.Outcome.Ends() {
				t.Errorf("%s ends by %s", sp.Model.States[sp.Configs[i].State].Name, e.Outcome.Name)
			}
			taken[sp.Model.States[sp.Configs[i].State].Name+" > "+e.Outcome.Next] = true
		}
	}
	var never []string
	for i := range sp.Model.States {
		s := &sp.Model.States[i]
		for _, to := range s.Targets() {
			if e := s.Name + " > " + to; !taken[e] {
				never = append(never, e)
			}
		}
	}
	if want := []string{"RecoverOrDrill > OutcomeAborted"}; !slices.Equal(never, want) {
		t.Errorf("never taken: %q; want %q", never, want)
	}
}

func TestPathsAreShortestAndFollowTheGraph(t *testing.T) {
	sp := explore(t, chain.Fallback())
	for i := range sp.Configs {
		path := sp.Path(i)
		if path[0].State != "Admit" {
			t.Fatalf("path begins at %s", path[0].State)
		}
		for k := 0; k+1 < len(path); k++ {
			if path[k].Outcome.Next != path[k+1].State {
				t.Fatalf("%s leads to %s, the path goes on at %s", path[k].State, path[k].Outcome.Next, path[k+1].State)
			}
		}
	}
}

func TestEveryConfigurationCanEnd(t *testing.T) {
	sp := explore(t, chain.Fallback())
	for i, ok := range sp.Reaches(sp.Terminal) {
		if !ok {
			t.Errorf("%v cannot end", sp.Path(i))
		}
	}
}

func TestAnUndeclaredVariableIsNamed(t *testing.T) {
	g := chain.Fallback()
	g.Node("GiveUp").Rules[0].When = cond.Equals("$.weather", "bad")
	m, err := g.Expand()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := space.New(m); err == nil || !strings.Contains(err.Error(), "GiveUp reads $.weather, which has no declared finite domain") {
		t.Error(err)
	}
}

// Representatives must behave as every assignment does: each assignment of the real domain chooses what one of them chooses.
func TestRepresentativesCoverTheWholeDomain(t *testing.T) {
	sp := explore(t, chain.Fallback())
	choose, _ := sp.Model.State("ChooseTier")
	paths := map[cond.Path]bool{}
	for _, r := range choose.Rules {
		for _, p := range r.When.Paths() {
			paths[p] = true
		}
	}
	var all []cond.Path
	for p := range paths {
		all = append(all, p)
	}
	slices.Sort(all)
	pick := func(at cond.Lookup) string {
		for _, r := range choose.Rules {
			if ok, err := r.When.EvalAt(at); err != nil {
				t.Fatal(err)
			} else if ok {
				return r.Next
			}
		}
		return choose.Default
	}
	whole := map[string]bool{}
	n := 0
	cond.Assignments(all, func(p cond.Path) []cond.Value { return space.Domain(sp.Model.Machine, p) }, func(at map[cond.Path]cond.Value) bool {
		whole[pick(func(p cond.Path) cond.Value { return at[p] })] = true
		n++
		return true
	})
	if n != 4*4*4*4*4*8 {
		t.Errorf("the domain has %d assignments", n)
	}
	taken := map[string]bool{}
	for i, out := range sp.Out {
		if sp.Model.States[sp.Configs[i].State].Name == "ChooseTier" {
			taken[out[0].Outcome.Next] = true
		}
	}
	for next := range whole {
		if !taken[next] {
			t.Errorf("ChooseTier leads to %s, but no representative does", next)
		}
	}
}
