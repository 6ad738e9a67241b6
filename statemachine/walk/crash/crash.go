// Package crash kills a run at a chosen point and tells what is durable then, so that a test can hand it to whatever
// finishes a dead run (a rerun from the last checkpoint, or the janitor) and ask whether the outcome is a defined one.
package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

// When is the moment in a state at which the process dies.
type When string

// The moments. Each leaves something else behind: nothing of the state; its changes without its section; both.
const (
	// Before: the checkpoint names the state, and its task was not called.
	Before When = "before"
	// Lost: the task did its work, and the process died before the result was written down.
	Lost When = "after the call, before the checkpoint"
	// After: the result is written down, and the next state has not begun.
	After When = "after the checkpoint"
)

// Whens lists the moments.
func Whens() []When { return []When{Before, Lost, After} }

// Point is where a run is killed: a moment in one visit of a state.
type Point struct {
	State string
	// Visit counts the visits of the state from 1.
	Visit int
	When  When
}

func (p Point) String() string {
	return fmt.Sprintf("killed at %s (visit %d) %s", p.State, p.Visit, p.When)
}

// Points lists every moment in the first visit of every state that changes something, in the graph's order.
func Points(g *graph.Graph) ([]Point, error) {
	m, err := g.Expand()
	if err != nil {
		return nil, err
	}
	var out []Point
	for i := range m.States {
		if !m.States[i].Changes() {
			continue
		}
		for _, w := range Whens() {
			out = append(out, Point{State: m.States[i].Name, Visit: 1, When: w})
		}
	}
	return out, nil
}

// Stopped is what is durable when the process is dead.
type Stopped struct {
	// Next is the state that the last checkpoint names; "" when the run was over. State is the run's state then.
	Next  string
	State json.RawMessage
	// Killed is false when the run never came to the point; Result is then how it ended.
	Killed bool
	Result walk.Result
}

var errKilled = errors.New("the process is dead")

// Run walks until the point and dies there. The error is for a walk that failed in any other way.
func Run(ctx context.Context, o walk.Options, input json.RawMessage, p Point) (Stopped, error) {
	k := &killer{point: p, checkpoint: o.Checkpoint}
	o.Checkpoint = k.write
	handlers := make(map[string]walk.Handler, len(o.Handlers))
	for name, h := range o.Handlers {
		handlers[name] = k.around(h)
	}
	o.Handlers = handlers
	res, err := walk.Walk(ctx, o, input)
	k.stopped.Result = res
	if errors.Is(err, errKilled) {
		k.stopped.Killed = true
		return k.stopped, nil
	}
	return k.stopped, err
}

// killer is between the walk and what is durable.
type killer struct {
	point      Point
	checkpoint func(string, json.RawMessage) error
	stopped    Stopped
	// visits counts the checkpoints that named the state; inside is set while it runs.
	visits int
	inside bool
	lost   bool
}

func (k *killer) around(h walk.Handler) walk.Handler {
	return func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
		out, err := h(ctx, in)
		if k.inside && k.point.When == Lost {
			k.lost = true
		}
		return out, err
	}
}

// write is the checkpoint: it writes, or the process is dead.
func (k *killer) write(next string, state json.RawMessage) error {
	if k.lost {
		return errKilled
	}
	leaving := k.inside
	k.inside = false
	k.stopped.Next, k.stopped.State = next, state
	if k.checkpoint != nil {
		if err := k.checkpoint(next, state); err != nil {
			return err
		}
	}
	if leaving && k.point.When == After {
		return errKilled
	}
	if next == k.point.State {
		k.visits++
		if k.inside = k.visits == k.point.Visit; k.inside && k.point.When == Before {
			return errKilled
		}
	}
	return nil
}
