package space

// Config is one point of the product: a state, the values its future may read, the mode, and facts of the past.
type Config[F comparable] struct {
	State int
	Mode  string
	Vals  Vals
	Facts F
}

// Edge leads from a configuration to another by an outcome.
type Edge struct {
	Outcome Outcome
	// To is the configuration's place in Space.Configs; -1 when the execution ends here or the target does not exist.
	To int
}

// Space is every configuration that can be reached.
type Space[F comparable] struct {
	Model   *Model
	Configs []Config[F]
	// Out holds the edges of each configuration.
	Out [][]Edge
	// parent and via lead back to the start on a shortest path.
	parent []int
	via    []int
}

// Explore visits everything reachable, breadth first, so that every path back is a shortest one. enter gives the facts after
// a state was entered with some facts; leave gives them after an outcome.
func Explore[F comparable](md *Model, modes []string, initial F, enter func(state int, mode string, f F) F, leave func(state int, mode string, f F, o Outcome) F) *Space[F] {
	sp := &Space[F]{Model: md}
	index := map[Config[F]]int{}
	add := func(c Config[F], parent, via int) int {
		if i, have := index[c]; have {
			return i
		}
		i := len(sp.Configs)
		index[c] = i
		sp.Configs = append(sp.Configs, c)
		sp.Out = append(sp.Out, nil)
		sp.parent = append(sp.parent, parent)
		sp.via = append(sp.via, via)
		return i
	}
	start := md.Index(md.Start)
	if start < 0 {
		return sp
	}
	for _, mode := range modes {
		add(Config[F]{start, mode, md.Initial(mode), enter(start, mode, initial)}, -1, -1)
	}
	for i := 0; i < len(sp.Configs); i++ {
		c := sp.Configs[i]
		for n, s := range md.Next(c.State, c.Vals) {
			to := md.Index(s.Next)
			if to < 0 || s.Ends() {
				sp.Out[i] = append(sp.Out[i], Edge{s.Outcome, -1})
				continue
			}
			f := enter(to, c.Mode, leave(c.State, c.Mode, c.Facts, s.Outcome))
			sp.Out[i] = append(sp.Out[i], Edge{s.Outcome, add(Config[F]{to, c.Mode, s.Vals, f}, i, n)})
		}
	}
	return sp
}

// Step is one state of a path and how it was left; Outcome is empty for the last.
type Step struct {
	State   string
	Outcome Outcome
}

// Path returns a shortest path from the start to a configuration.
func (sp *Space[F]) Path(i int) []Step {
	steps := []Step{{State: sp.Model.States[sp.Configs[i].State].Name}}
	for sp.parent[i] >= 0 {
		p := sp.parent[i]
		steps = append(steps, Step{sp.Model.States[sp.Configs[p].State].Name, sp.Out[p][sp.via[i]].Outcome})
		i = p
	}
	for a, b := 0, len(steps)-1; a < b; a, b = a+1, b-1 {
		steps[a], steps[b] = steps[b], steps[a]
	}
	return steps
}

// Terminal tells whether a configuration ends the execution, and so has no edges.
func (sp *Space[F]) Terminal(i int) bool { return sp.Model.States[sp.Configs[i].State].Terminal() }

// Reaches marks every configuration from which one of the goals can be reached.
func (sp *Space[F]) Reaches(goal func(i int) bool) []bool {
	back := make([][]int, len(sp.Configs))
	for i, edges := range sp.Out {
		for _, e := range edges {
			if e.To >= 0 {
				back[e.To] = append(back[e.To], i)
			}
		}
	}
	seen := make([]bool, len(sp.Configs))
	var queue []int
	for i := range sp.Configs {
		if goal(i) {
			seen[i] = true
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, p := range back[i] {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return seen
}
