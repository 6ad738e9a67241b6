package mermaid

import (
	"fmt"
	"slices"
	"strings"

	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/space"
)

type way struct {
	to, reason string
	fault      bool
}

// ways lists the arrows of a state with their reasons.
func ways(m *graph.Machine, s *graph.State, expanded bool) []way {
	var out []way
	for _, r := range s.Rules {
		out = append(out, way{r.Next, short(r.When.String()), false})
	}
	if s.Default != "" {
		if rest, ok := unnamed(m, s); ok {
			for _, phase := range rest {
				out = append(out, way{s.Default, phase, true})
			}
			if len(rest) == 0 {
				out = append(out, way{s.Default, "undeclared", true})
			}
		} else {
			out = append(out, way{s.Default, "otherwise", false})
		}
	}
	switch tier := m.Node(s.Node); {
	case s.Next == "":
	case !expanded && tier != nil && tier.Demote != nil && s.Kind == graph.Pass:
		out = append(out, way{s.Next, "Failed", true}, way{s.Next, anyFault, true}) // the way down hides the reasons for it
	default:
		out = append(out, way{to: s.Next})
	}
	for _, c := range s.Catch {
		out = append(out, way{c.Next, caught(m, c, expanded), true})
	}
	return out
}

// unnamed lists the phases of a task that the choice after it leaves to its default; ok is false for any other choice.
func unnamed(m *graph.Machine, s *graph.State) (phases []string, ok bool) {
	for i := range m.States {
		t := &m.States[i]
		if t.Kind != graph.Task || t.Next != s.Name || t.Node != s.Node {
			continue
		}
		for _, p := range t.Phases {
			if !slices.ContainsFunc(s.Rules, func(r graph.Rule) bool { return r.When.Text == p }) {
				phases = append(phases, p)
			}
		}
		return phases, true
	}
	return nil, false
}

// caught is the reason of a catch: the codes, or in the picture the name of their class.
func caught(m *graph.Machine, c graph.Catch, expanded bool) string {
	if c.Errors[0] == graph.AllErrors {
		return anyFault
	}
	if expanded {
		return strings.Join(c.Errors, "<br>")
	}
	switch k := m.Classes; {
	case slices.Equal(c.Errors, k.Dirty):
		return "Dirty fault"
	case slices.Equal(c.Errors, k.Demote):
		return anyFault
	default:
		return "Abort or Rollback fault"
	}
}

// short leaves out of a condition what the picture says already.
func short(text string) string {
	for _, cut := range []string{"assess.signals.", ".status", "admit.tiers."} {
		text = strings.ReplaceAll(text, cut, "")
	}
	if _, phase, ok := strings.Cut(text, ".phase is "); ok && !strings.Contains(phase, " ") {
		return phase
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, " is true", " enabled"), " and ", "<br>and ")
}

// taking is what runs of a mode can reach.
type taking struct {
	state map[int]bool
	edge  map[[2]int]bool
}

type none struct{}

func taken(m *graph.Machine, mode string) (taking, error) {
	md, err := space.New(m)
	if err != nil {
		return taking{}, fmt.Errorf("graph %s: %w", m.Name, err)
	}
	modes := []string{mode}
	if mode == "" {
		modes = slices.Concat(m.Modes, m.Refused)
	}
	sp := space.Explore(md, modes, none{}, func(int, string, none) none { return none{} }, func(int, string, none, space.Outcome) none { return none{} })
	t := taking{map[int]bool{}, map[[2]int]bool{}}
	for i, c := range sp.Configs {
		t.state[c.State] = true
		for _, e := range sp.Out[i] {
			if e.To >= 0 {
				t.edge[[2]int{c.State, sp.Configs[e.To].State}] = true
			}
		}
	}
	return t, nil
}
