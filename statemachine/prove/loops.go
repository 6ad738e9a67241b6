package prove

import (
	"slices"

	"fallbackchain.io/fallback/statemachine/graph"
)

// loops: the only cycles are an Await and the choice after it, within a budget that has a cap.
func (p *prover) loops() {
	for i := range p.m.States {
		s := &p.m.States[i]
		if !s.Awaits && s.Kind != graph.Wait {
			continue
		}
		if limit, ok := p.m.Caps[s.Budget]; !ok || limit <= 0 {
			p.failf(1, "%s waits within the budget %q, which has no cap", s.Name, s.Budget)
		}
	}
	for _, cycle := range p.cycles() {
		if p.awaitLoop(cycle) {
			continue
		}
		f := Failure{Message: p.m.States[cycle[0]].Name + " can come back to itself outside an Await loop"}
		for _, i := range append(cycle, cycle[0]) {
			f.Witness = append(f.Witness, Step{State: p.m.States[i].Name})
		}
		p.fail(1, f)
	}
}

func (p *prover) awaitLoop(cycle []int) bool {
	if len(cycle) != 2 {
		return false
	}
	a, b := &p.m.States[cycle[0]], &p.m.States[cycle[1]]
	if !a.Awaits {
		a, b = b, a
	}
	return a.Awaits && a.Next == b.Name && b.Kind == graph.Choice
}

// cycles finds, for each state that can come back to itself other than as an Await does, a shortest such way; one for each
// strongly connected part.
func (p *prover) cycles() [][]int {
	n := len(p.m.States)
	next := make([][]int, n)
	for i := range p.m.States {
		for _, t := range p.m.States[i].Targets() {
			if j := p.m.Index(t); j >= 0 {
				next[i] = append(next[i], j)
			}
		}
	}
	var out [][]int
	covered := make([]bool, n)
	for from := range n {
		if covered[from] {
			continue
		}
		for _, ignoreAwaits := range []bool{true, false} {
			if c := p.cycle(next, from, ignoreAwaits); c != nil {
				out = append(out, c)
				for _, i := range c {
					covered[i] = true
				}
				break
			}
		}
	}
	return out
}

// cycle is a shortest way from a state back to it.
func (p *prover) cycle(next [][]int, from int, ignoreAwaits bool) []int {
	parent := map[int]int{from: -1}
	queue := []int{from}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, j := range next[i] {
			if ignoreAwaits && p.awaitLoop([]int{i, j}) && p.m.States[j].Awaits {
				continue
			}
			if j == from {
				var c []int
				for at := i; at >= 0; at = parent[at] {
					c = append(c, at)
				}
				slices.Reverse(c)
				return c
			}
			if _, seen := parent[j]; !seen {
				parent[j] = i
				queue = append(queue, j)
			}
		}
	}
	return nil
}
