// Package space explores the product of a graph's states, the outcomes of its tasks, and its modes. A task may answer with
// any phase it declares and with one it does not, and may fail with any class of error; the values of its section run over
// one representative of each class that the graph's choices can tell apart. Standard library only.
package space

import (
	"fmt"
	"slices"
	"strings"

	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

// MaxVars is how many variables the choices of a graph may read.
const MaxVars = 40

// UnknownPhase stands for every phase that a task does not declare.
const UnknownPhase = "Undeclared"

// OtherError stands for every error that no catcher names.
const OtherError = "Unheard.Of"

// any marks a variable whose value nothing later reads; missing is the first value of every domain.
const (
	anyValue = 0xff
	missing  = 0
)

// Vals holds a value for each variable, as an index into its domain.
type Vals [MaxVars]uint8

// Kind tells how a state is left.
type Kind int

// The kinds of outcome.
const (
	// Plain: a state with one way out.
	Plain Kind = iota
	// Phase: a task answered.
	Phase
	// Fault: a task failed, and a catcher has it.
	Fault
	// Rule and Default: a choice chose.
	Rule
	Default
	// NoPath: a state read a path that is not there; the execution ends with States.Runtime.
	NoPath
	// NoRule: no rule held and there is no default; the execution ends with States.NoChoiceMatched.
	NoRule
)

// Outcome is one way of leaving a state.
type Outcome struct {
	Kind Kind
	// Name is the phase, the error, the rule's text or the missing path.
	Name string
	// Catch and Rule are places in the state's lists. Variant numbers the representatives of a section's values.
	Catch, Rule, Variant int
	// Next is the state that follows; it may not exist.
	Next string
}

// Ends tells whether the execution ends here although the state is no terminal.
func (o Outcome) Ends() bool { return o.Kind == NoPath || o.Kind == NoRule }

// Model is a machine prepared for exploring.
type Model struct {
	*graph.Machine
	vars     []cond.Path
	domains  [][]cond.Value
	index    map[cond.Path]int
	live     [][]bool
	variants map[string][]variant
	mode     int
}

// variant is a representative of a section's values, besides its phase: by variable.
type variant map[int]uint8

// New prepares a machine. It fails when a condition reads a variable without a declared finite domain.
func New(m *graph.Machine) (*Model, error) {
	md := &Model{Machine: m, index: map[cond.Path]int{}, variants: map[string][]variant{}, mode: -1}
	if err := md.declare(); err != nil {
		return nil, err
	}
	if i, ok := md.index[m.Mode]; ok {
		md.mode = i
	}
	md.classes()
	md.liveness()
	return md, nil
}

// Domain returns the declared values of a variable, Missing first; nil when it has none.
func (md *Model) Domain(p cond.Path) []cond.Value {
	if i, ok := md.index[p]; ok {
		return md.domains[i]
	}
	return nil
}

// declare collects the variables that choices read, with their domains.
func (md *Model) declare() error {
	for si := range md.States {
		s := &md.States[si]
		for _, p := range Reads(s) {
			if _, have := md.index[p]; have {
				continue
			}
			values := Domain(md.Machine, p)
			if values == nil {
				return fmt.Errorf("%s reads %s, which has no declared finite domain", s.Name, p)
			}
			if len(md.vars) == MaxVars {
				return fmt.Errorf("choices read more than %d variables", MaxVars)
			}
			md.index[p] = len(md.vars)
			md.vars = append(md.vars, p)
			md.domains = append(md.domains, append([]cond.Value{cond.Missing()}, values...))
		}
	}
	return nil
}

// Reads lists what a state reads of the run: the variables of a choice, the source of a copy, the section that holds the
// time a Wait waits for.
func Reads(s *graph.State) []cond.Path {
	var out []cond.Path
	for _, r := range s.Rules {
		out = append(out, r.When.Paths()...)
	}
	if s.Kind == graph.Pass && s.Result == nil && s.InputPath != "" && s.InputPath != "$" {
		out = append(out, s.InputPath)
	}
	if names := s.TimestampPath.Names(); s.Kind == graph.Wait && len(names) > 0 {
		out = append(out, cond.Path("$."+names[0]))
	}
	return out
}

// Domain returns the values that a machine declares for a path: the modes, a task's phases, a constant of a Pass, the
// presence of a section, or what Vars says. nil when nothing declares it.
func Domain(m *graph.Machine, p cond.Path) []cond.Value {
	if p == m.Mode {
		return cond.Texts(slices.Concat(m.Modes, m.Refused)...)
	}
	var out []cond.Value
	add := func(v cond.Value) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	for i := range m.States {
		s := &m.States[i]
		switch {
		case s.Kind == graph.Task && p == s.ResultPath:
			add(cond.Something())
		case s.Kind == graph.Task && p == s.ResultPath.Join("phase"):
			for _, ph := range s.Phases {
				add(cond.Text(ph))
			}
			add(cond.Text(UnknownPhase))
		case s.Kind == graph.Pass && s.Result != nil:
			if v, ok := constant(s, p); ok {
				add(v)
			}
		}
	}
	for _, v := range m.Vars {
		if v.Path == p {
			return v.Values
		}
	}
	return out
}

// constant returns what a Pass with a Result writes to a path.
func constant(s *graph.State, p cond.Path) (cond.Value, bool) {
	for k, v := range s.Result {
		if p == s.ResultPath.Join(k) {
			return cond.Text(v), true
		}
	}
	return cond.Value{}, false
}

// classes finds, for each section, one assignment of its variables for every behaviour of the choices.
func (md *Model) classes() {
	for si := range md.States {
		s := &md.States[si]
		if s.Kind != graph.Task {
			continue
		}
		if _, done := md.variants[s.Section]; done {
			continue
		}
		phase := s.ResultPath.Join("phase")
		var own []cond.Path
		for _, p := range md.vars {
			if p.Under(s.ResultPath) && p != phase && p != s.ResultPath {
				own = append(own, p)
			}
		}
		md.variants[s.Section] = md.representatives(own)
	}
}

func (md *Model) representatives(own []cond.Path) []variant {
	seen := map[string]bool{}
	var out []variant
	present := func(p cond.Path) []cond.Value { return md.domains[md.index[p]][1:] }
	cond.Assignments(own, present, func(at map[cond.Path]cond.Value) bool {
		known := func(p cond.Path) (cond.Value, bool) { v, ok := at[p]; return v, ok }
		var signature strings.Builder
		for si := range md.States {
			for _, r := range md.States[si].Rules {
				signature.WriteString(r.When.Partial(known).String())
				signature.WriteByte('\n')
			}
		}
		if seen[signature.String()] {
			return true
		}
		seen[signature.String()] = true
		v := variant{}
		for p, value := range at {
			i := md.index[p]
			v[i] = uint8(slices.Index(md.domains[i], value))
		}
		out = append(out, v)
		return true
	})
	return out
}

// liveness finds, for each state, the variables that a choice may read from there on before they are written again.
func (md *Model) liveness() {
	md.live = make([][]bool, len(md.States))
	for i := range md.live {
		md.live[i] = make([]bool, len(md.vars))
	}
	for changed := true; changed; {
		changed = false
		for i := len(md.States) - 1; i >= 0; i-- {
			for v := range md.vars {
				if !md.live[i][v] && md.needs(i, v) {
					md.live[i][v], changed = true, true
				}
			}
		}
	}
}

func (md *Model) needs(i, v int) bool {
	s := &md.States[i]
	if slices.Contains(Reads(s), md.vars[v]) {
		return true
	}
	writes := false
	switch {
	case s.Kind == graph.Task:
		writes = md.vars[v].Under(s.ResultPath)
	case s.Kind == graph.Pass && s.Result != nil:
		writes = md.vars[v].Under(s.ResultPath)
	}
	liveAt := func(name string) bool { t := md.Index(name); return t >= 0 && md.live[t][v] }
	if s.Next != "" && !writes && liveAt(s.Next) {
		return true
	}
	if s.Default != "" && liveAt(s.Default) {
		return true
	}
	for _, r := range s.Rules {
		if liveAt(r.Next) {
			return true
		}
	}
	for _, c := range s.Catch {
		if liveAt(c.Next) {
			return true
		}
	}
	return false
}
