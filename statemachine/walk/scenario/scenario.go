// Package scenario makes runs of a graph from the graph itself: one for every state and outcome, every edge at least once,
// with what each task answers and the path that follows. The same scenarios are walked in this process and executed by
// engines that somebody else wrote.
package scenario

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/space"
)

// Answer is what a task says to one call: a section, or an error.
type Answer struct {
	State    string          `json:"state"`
	Function string          `json:"function"`
	Op       string          `json:"op"`
	Section  json.RawMessage `json:"section,omitempty"`
	// Error is the name of the error; Cause is its text.
	Error string `json:"error,omitempty"`
	Cause string `json:"cause,omitempty"`
}

// Scenario is one run: its input, what the tasks answer in the order of the calls, and the states it visits.
type Scenario struct {
	// Name says what it is there for: "VerifyIsolation answers Broken in recover".
	Name    string          `json:"name"`
	Mode    string          `json:"mode"`
	Input   json.RawMessage `json:"input"`
	Answers []Answer        `json:"answers"`
	Path    []string        `json:"path"`
}

// Start is when every scenario's run starts; a hold-down ends HoldDown later.
func Start() time.Time { return time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC) }

// HoldDown is how long a Wait waits.
const HoldDown = 2 * time.Minute

type none struct{}

// generator turns paths through the product into scenarios.
type generator struct {
	g  *graph.Graph
	sp *space.Space[none]
	// toEnd is, for each configuration, the edge to take towards the nearest end.
	toEnd []int
	// code is the error of the fault that the scenario is there for; used are those that had their turn.
	code string
	used map[string]bool
	// turn goes round the errors of a retrier.
	turn int
}

// Generate returns the scenarios of a graph in a fixed order.
func Generate(g *graph.Graph) ([]Scenario, error) {
	m, err := g.Expand()
	if err != nil {
		return nil, err
	}
	md, err := space.New(m)
	if err != nil {
		return nil, err
	}
	modes := append(append([]string{}, g.Modes...), g.Refused...)
	x := &generator{g: g, used: map[string]bool{}}
	x.sp = space.Explore(md, modes, none{}, func(int, string, none) none { return none{} }, func(int, string, none, space.Outcome) none { return none{} })
	x.ends()
	var out []Scenario
	type key struct {
		state   int
		kind    space.Kind
		name    string
		variant int
	}
	seen := map[key]bool{}
	for i, c := range x.sp.Configs {
		s := &md.States[c.State]
		for n, e := range x.sp.Out[i] {
			if e.To < 0 || x.toEnd[e.To] == dead {
				continue
			}
			k := key{c.State, e.Outcome.Kind, e.Outcome.Name, e.Outcome.Variant}
			if s.Kind == graph.Choice {
				k.name = e.Outcome.Next
			}
			if seen[k] {
				continue
			}
			seen[k] = true
			for _, code := range x.codes(s, e.Outcome) {
				x.code = code
				out = append(out, x.scenario(i, n, nil))
			}
			if s.Kind == graph.Task && e.Outcome.Kind != space.Fault && !retried(seen, key{state: c.State, name: "retry"}) {
				out = append(out, x.retries(i, n)...)
			}
		}
	}
	return out, nil
}

func retried[K comparable](seen map[K]bool, k K) bool {
	had := seen[k]
	seen[k] = true
	return had
}

// Marks of toEnd.
const (
	atEnd = -1
	dead  = -2
)

// ends finds the nearest end from everywhere: without a fault where there is such a way.
func (x *generator) ends() {
	type back struct{ from, edge int }
	into := make([][]back, len(x.sp.Configs))
	x.toEnd = make([]int, len(x.sp.Configs))
	for i := range x.sp.Configs {
		x.toEnd[i] = dead
		if x.sp.Terminal(i) {
			x.toEnd[i] = atEnd
		}
		for e, edge := range x.sp.Out[i] {
			if edge.To >= 0 {
				into[edge.To] = append(into[edge.To], back{i, e})
			}
		}
	}
	for _, faults := range []bool{false, true} {
		var queue []int
		for i, e := range x.toEnd {
			if e != dead {
				queue = append(queue, i)
			}
		}
		for len(queue) > 0 {
			i := queue[0]
			queue = queue[1:]
			for _, b := range into[i] {
				fault := x.sp.Out[b.from][b.edge].Outcome.Kind == space.Fault
				if x.toEnd[b.from] == dead && fault == (faults && fault) {
					x.toEnd[b.from] = b.edge
					queue = append(queue, b.from)
				}
			}
		}
	}
}

// codes lists the errors to leave a state with by an outcome: those of the catcher that had no turn yet, at least one.
func (x *generator) codes(s *graph.State, o space.Outcome) []string {
	if o.Kind != space.Fault {
		return []string{""}
	}
	errors := s.Catch[o.Catch].Errors
	if errors[0] == graph.AllErrors {
		return []string{space.OtherError}
	}
	var out []string
	for _, e := range errors {
		if !x.used[e] {
			x.used[e] = true
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		out = append(out, errors[x.sp.Model.Index(s.Name)%len(errors)])
	}
	return out
}

// scenario goes to a configuration, leaves it by an edge after the given failed tries, and on to the nearest end.
func (x *generator) scenario(config, edge int, tries []string) Scenario {
	steps := x.sp.Path(config)
	steps[len(steps)-1].Outcome = x.sp.Out[config][edge].Outcome
	special := len(steps) - 1
	for at := x.sp.Out[config][edge].To; ; {
		step := space.Step{State: x.sp.Model.States[x.sp.Configs[at].State].Name}
		if x.toEnd[at] == atEnd {
			steps = append(steps, step)
			break
		}
		e := x.sp.Out[at][x.toEnd[at]]
		step.Outcome = e.Outcome
		steps = append(steps, step)
		at = e.To
	}
	c := x.sp.Configs[config]
	if o := &steps[special].Outcome; o.Kind == space.Fault && len(tries) == 0 {
		o.Name = x.code
	}
	s := Scenario{Name: name(&x.sp.Model.States[c.State], steps[special].Outcome, c.Mode, tries), Mode: c.Mode}
	s.Input = input(c.Mode)
	for i, step := range steps {
		s.Path = append(s.Path, step.State)
		state, _ := x.sp.Model.State(step.State)
		if state.Kind != graph.Task {
			continue
		}
		if i == special {
			for _, failed := range tries {
				s.Answers = append(s.Answers, Answer{State: state.Name, Function: state.Function, Op: state.Op, Error: failed, Cause: "try again"})
			}
			if step.Outcome.Kind == space.Fault && len(tries) > 0 {
				continue // the last try was the fault
			}
		}
		s.Answers = append(s.Answers, x.answer(state, step.Outcome))
	}
	return s
}

func name(s *graph.State, o space.Outcome, mode string, tries []string) string {
	text := s.Name
	switch {
	case len(tries) > 0 && o.Kind == space.Fault:
		text += " runs out of retries"
	case len(tries) > 0:
		text += " is retried"
	case o.Kind == space.Phase:
		text += fmt.Sprintf(" answers %s %d", o.Name, o.Variant)
	case o.Kind == space.Fault:
		text += " fails with " + o.Name
	default:
		text += " goes to " + o.Next
	}
	return text + " in " + mode
}

// retries are a task that succeeds after a try for each retrier, and one whose retries run out.
func (x *generator) retries(config, edge int) []Scenario {
	s := &x.sp.Model.States[x.sp.Configs[config].State]
	var tries []string
	for _, r := range s.Retry {
		tries = append(tries, r.Errors[x.turn%len(r.Errors)])
	}
	x.turn++
	if len(tries) == 0 {
		return nil
	}
	out := []Scenario{x.scenario(config, edge, tries)}
	for n, e := range x.sp.Out[config] {
		if e.Outcome.Kind != space.Fault || s.Catch[e.Outcome.Catch].Errors[0] != graph.AllErrors {
			continue
		}
		last := s.Retry[len(s.Retry)-1]
		var all []string
		for range last.MaxAttempts + 1 {
			all = append(all, last.Errors[x.turn%len(last.Errors)])
		}
		out = append(out, x.scenario(config, n, all))
	}
	return out
}

// answer makes the section or the error of an outcome.
func (x *generator) answer(s *graph.State, o space.Outcome) Answer {
	a := Answer{State: s.Name, Function: s.Function, Op: s.Op}
	if o.Kind == space.Fault {
		a.Error, a.Cause = o.Name, "as the scenario says"
		return a
	}
	phase := o.Name
	if phase == "" {
		phase = "Done"
	}
	var doc any = map[string]any{"phase": phase}
	root := s.ResultPath
	put := func(p cond.Path, v any) {
		doc, _ = cond.Set(doc, "$"+cond.Path(strings.TrimPrefix(string(p), string(root))), v)
	}
	for _, v := range x.g.Vars {
		if decoded, ok := v.Values[0].JSON(); ok && v.Path.Under(root) {
			put(v.Path, decoded)
		}
	}
	for p, v := range x.sp.Model.Section(s.Section, o.Variant) {
		if decoded, ok := v.JSON(); ok {
			put(p, decoded)
		}
	}
	for i := range x.sp.Model.States {
		if p := x.sp.Model.States[i].TimestampPath; p != "" && p.Under(root) {
			put(p, Start().Add(HoldDown).Format(time.RFC3339))
		}
	}
	a.Section, _ = json.Marshal(doc) // maps of strings and booleans always encode
	return a
}

func input(mode string) json.RawMessage {
	at := Start().Format(time.RFC3339)
	return json.RawMessage(fmt.Sprintf(`{"id":"shop-%s-20260301030000-0001","mode":%q,"trigger":{"kind":"manual","at":%q},"plan":{"name":"shop","uri":"plan.yaml"},"startedAt":%q,"demotions":{},"faults":{}}`, mode, mode, at, at))
}
