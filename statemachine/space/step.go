package space

import (
	"slices"

	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

// Succ is one outcome and the values after it.
type Succ struct {
	Outcome
	Vals Vals
}

// Initial returns the values at the start of a run of a mode.
func (md *Model) Initial(mode string) Vals {
	var v Vals
	if md.mode >= 0 {
		v[md.mode] = uint8(max(0, slices.Index(md.domains[md.mode], cond.Text(mode))))
	}
	return md.prune(md.Start, v)
}

// prune forgets what nothing reads any more.
func (md *Model) prune(state string, v Vals) Vals {
	i := md.Index(state)
	for x := range md.vars {
		if i < 0 || !md.live[i][x] {
			v[x] = anyValue
		}
	}
	return v
}

func (md *Model) lookup(v Vals) cond.Lookup {
	return func(p cond.Path) cond.Value {
		i := md.index[p]
		if v[i] == anyValue {
			return cond.Missing()
		}
		return md.domains[i][v[i]]
	}
}

// Next returns every outcome of a state at the given values, in a fixed order. A terminal has none.
func (md *Model) Next(state int, v Vals) []Succ {
	s := &md.States[state]
	switch s.Kind {
	case graph.Task:
		return md.task(s, v)
	case graph.Choice:
		return []Succ{md.choice(s, v)}
	case graph.Pass:
		if o, ends := md.absent(s, v); ends {
			return []Succ{{o, v}}
		}
		out := v
		if s.Result != nil {
			for x, p := range md.vars {
				if value, ok := constant(s, p); ok {
					out[x] = uint8(slices.Index(md.domains[x], value))
				} else if p.Under(s.ResultPath) && p != s.ResultPath {
					out[x] = missing
				}
			}
		}
		return []Succ{{Outcome{Next: s.Next}, md.prune(s.Next, out)}}
	case graph.Wait:
		if o, ends := md.absent(s, v); ends {
			return []Succ{{o, v}}
		}
		return []Succ{{Outcome{Next: s.Next}, md.prune(s.Next, v)}}
	}
	return nil
}

// absent tells whether a Pass or a Wait reads what is not there.
func (md *Model) absent(s *graph.State, v Vals) (Outcome, bool) {
	for _, p := range Reads(s) {
		if md.lookup(v)(p).IsMissing() {
			return Outcome{Kind: NoPath, Name: string(p)}, true
		}
	}
	return Outcome{}, false
}

func (md *Model) task(s *graph.State, v Vals) []Succ {
	var out []Succ
	phases := append(slices.Clone(s.Phases), UnknownPhase)
	if len(s.Phases) == 0 {
		phases = phases[:0]
		phases = append(phases, "")
	}
	seen := map[Vals]bool{}
	for _, ph := range phases {
		clear(seen)
		for n, values := range md.variants[s.Section] {
			after := md.write(s, v, ph, values)
			if seen[after] {
				continue
			}
			seen[after] = true
			kind := Phase
			if ph == "" {
				kind = Plain
			}
			out = append(out, Succ{Outcome{Kind: kind, Name: ph, Variant: n, Next: s.Next}, after})
		}
	}
	for i, c := range s.Catch {
		name := c.Errors[0]
		if name == graph.AllErrors {
			name = OtherError
		}
		out = append(out, Succ{Outcome{Kind: Fault, Name: name, Catch: i, Next: c.Next}, md.prune(c.Next, v)})
	}
	return out
}

// write returns the values after a task wrote its section.
func (md *Model) write(s *graph.State, v Vals, phase string, values variant) Vals {
	for x, p := range md.vars {
		switch {
		case p == s.ResultPath:
			v[x] = uint8(slices.Index(md.domains[x], cond.Something()))
		case p == s.ResultPath.Join("phase"):
			if phase == "" {
				phase = UnknownPhase
			}
			v[x] = uint8(max(0, slices.Index(md.domains[x], cond.Text(phase))))
		default:
			if value, ok := values[x]; ok {
				v[x] = value
			}
		}
	}
	return md.prune(s.Next, v)
}

func (md *Model) choice(s *graph.State, v Vals) Succ {
	at := md.lookup(v)
	for i, r := range s.Rules {
		holds, err := r.When.EvalAt(at)
		if err != nil {
			return Succ{Outcome{Kind: NoPath, Name: err.Error()}, v}
		}
		if holds {
			return Succ{Outcome{Kind: Rule, Rule: i, Name: r.When.String(), Next: r.Next}, md.prune(r.Next, v)}
		}
	}
	if s.Default == "" {
		return Succ{Outcome{Kind: NoRule, Name: "no rule holds"}, v}
	}
	return Succ{Outcome{Kind: Default, Name: "otherwise", Next: s.Default}, md.prune(s.Default, v)}
}

// Section returns the values that a variant gives a section's variables, by path.
func (md *Model) Section(section string, n int) map[cond.Path]cond.Value {
	out := map[cond.Path]cond.Value{}
	if n < len(md.variants[section]) {
		for x, value := range md.variants[section][n] {
			out[md.vars[x]] = md.domains[x][value]
		}
	}
	return out
}
