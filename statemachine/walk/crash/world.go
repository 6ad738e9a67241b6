package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
	"fallbackchain.io/fallback/statemachine/walk/scenario"
)

// World is a cluster in memory whose tasks do what the graph says they do: a state that changes something writes an intent to
// the journal and then makes an object; what rolls back or tears down removes them by the journal. It is for the tests of what
// finishes dead runs.
type World struct {
	// Lease is whether the run holds it.
	Lease bool
	// Journal holds the changes in the order they were written down; Objects are those that are there.
	Journal []string
	Objects map[string]bool
	// Reports counts the reports.
	Reports int
	// Stuck makes every undo fail.
	Stuck bool

	m        *graph.Machine
	scenario scenario.Scenario
	next     int
	visit    int
	state    string
}

// NewWorld returns an empty world in which a scenario runs.
func NewWorld(g *graph.Graph, s scenario.Scenario) (*World, error) {
	m, err := g.Expand()
	if err != nil {
		return nil, err
	}
	return &World{m: m, scenario: s, Objects: map[string]bool{}}, nil
}

// Handlers are the functions of the world. They give the scenario's answers in their order.
func (w *World) Handlers() map[string]walk.Handler {
	out := map[string]walk.Handler{}
	for _, f := range w.m.Functions() {
		out[f] = w.handle
	}
	return out
}

// Rewind makes the tasks of the state that the world was in last answer again: its results were lost.
func (w *World) Rewind() { w.next = w.visit }

func (w *World) handle(_ context.Context, in json.RawMessage) (json.RawMessage, error) {
	var req struct{ Op, State string }
	if err := json.Unmarshal(in, &req); err != nil {
		return nil, err
	}
	s, ok := w.m.State(req.State)
	if !ok || w.next >= len(w.scenario.Answers) || w.scenario.Answers[w.next].State != req.State {
		return nil, &walk.NamedError{Name: walk.ErrRuntime, Cause: fmt.Sprintf("call %d of %q is not %s", w.next, w.scenario.Name, req.State)}
	}
	if w.state != req.State || w.next == 0 || w.scenario.Answers[w.next-1].Error == "" {
		w.state, w.visit = req.State, w.next
	}
	a := w.scenario.Answers[w.next]
	w.next++
	var section struct{ Phase string }
	if a.Error == "" {
		if err := json.Unmarshal(a.Section, &section); err != nil {
			return nil, err
		}
	}
	w.do(s, section.Phase, a.Error != "")
	if a.Error != "" {
		return nil, &walk.NamedError{Name: a.Error, Cause: a.Cause}
	}
	return a.Section, nil
}

// do makes the state's effects: changes even when the task then fails.
func (w *World) do(s *graph.State, phase string, failed bool) {
	for _, e := range s.Effects {
		if !e.In(w.scenario.Mode) {
			continue
		}
		if e.Kind.NeedsUndo() {
			w.change(s.Name)
		}
		if failed || !e.OnEntry() && !e.Gives(phase) {
			continue
		}
		switch e.Kind {
		case graph.TakesLease:
			w.Lease = true
		case graph.ReleasesLease:
			w.Lease = false
		case graph.RollsBack, graph.TearsDown:
			w.Undo()
		case graph.LiftsIsolation:
			w.remove("IsolateWorkload")
		case graph.Reports:
			w.Reports++
		}
	}
}

// change writes the intent down and then makes the object; doing it twice leaves the same world.
func (w *World) change(name string) {
	if !slices.Contains(w.Journal, name) {
		w.Journal = append(w.Journal, name)
	}
	w.Objects[name] = true
}

func (w *World) remove(name string) {
	w.Journal = slices.DeleteFunc(w.Journal, func(j string) bool { return j == name })
	delete(w.Objects, name)
}

// Undo removes what the journal names, last first, and tells whether nothing is left.
func (w *World) Undo() bool {
	if w.Stuck {
		return len(w.Journal) == 0
	}
	for _, name := range slices.Backward(slices.Clone(w.Journal)) {
		w.remove(name)
	}
	return true
}
