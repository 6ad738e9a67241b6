// Package walk executes a graph in this process, over handlers or over stubs, as Step Functions would execute the rendered
// definition: Parameters, ResultPath, Retry, Catch, Choice, Pass, Wait and the payload limit have the States Language's
// meaning (https://states-language.net/spec.html), and the path that a run takes is recorded.
package walk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"fallbackchain.io/fallback/statemachine/graph"
)

// Handler is a task: input is the JSON of run.Request, output the JSON of the section. An error's name is that of a
// *NamedError in its chain, else the code of fault.From(err).
type Handler func(ctx context.Context, in json.RawMessage) (json.RawMessage, error)

// EventKind tells what happened to a state.
type EventKind string

// The events. Every state is Entered; it is Retried any number of times; then it is Exited, or Caught (an error led on), or
// Ended (the execution is over).
const (
	Entered EventKind = "Entered"
	Exited  EventKind = "Exited"
	Retried EventKind = "Retried"
	Caught  EventKind = "Caught"
	Ended   EventKind = "Ended"
)

// Event is one step of a walk, for a live view.
type Event struct {
	At   time.Time
	Kind EventKind
	// State is the plain state, Node the node of the picture it belongs to, Type its kind.
	State, Node string
	Type        graph.Kind
	// Function and Op are a task's.
	Function, Op string
	// Next is the state that follows; "" before it is known and at the end.
	Next string
	// Attempt counts a task's tries within one visit from 1.
	Attempt int
	// Reason says why the state was left: a phase, the text of a condition, or an error's name. Cause is the error's text.
	Reason, Cause string
	// Section is a task's result.
	Section json.RawMessage
	// Duration is the time since the state was entered.
	Duration time.Duration
}

// Options say what to walk over and what to do on the way.
type Options struct {
	Graph *graph.Graph
	// Handlers are found by the function's name.
	Handlers map[string]Handler
	// Now and Sleep are the clock; time.Now and a timer when nil.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
	// Jitter picks the delay before a retry from [0, most]; evenly at random when nil.
	Jitter  func(most time.Duration) time.Duration
	OnEvent func(Event)
	// Checkpoint is called before the first state, and after every state before the next begins; its work must be durable
	// when it returns. next is "" when the walk is over. Its error ends the walk.
	Checkpoint func(next string, state json.RawMessage) error
}

// Visit is one state of a path and why it was left.
type Visit struct {
	State   string        `json:"state"`
	At      time.Time     `json:"at"`
	Took    time.Duration `json:"took"`
	Outcome string        `json:"outcome,omitempty"`
	Next    string        `json:"next,omitempty"`
}

// Result is how an execution ended.
type Result struct {
	Path   []Visit
	Output json.RawMessage
	// Terminal is the Succeed or Fail state that ended it; "" when an error did that nothing caught.
	Terminal  string
	Succeeded bool
	// Error and Cause are set unless it succeeded.
	Error, Cause string
}

// Walk executes the graph from its start. The error is for what is no end of the execution: a malformed graph or input, a
// cancelled context, a failed checkpoint. Result then holds the path so far.
func Walk(ctx context.Context, o Options, input json.RawMessage) (Result, error) {
	if o.Graph == nil {
		return Result{}, errors.New("walk: no graph")
	}
	return Resume(ctx, o, o.Graph.Start, input)
}

// Resume executes the graph from a state on, with the state's input, as a Checkpoint was told them.
func Resume(ctx context.Context, o Options, state string, input json.RawMessage) (Result, error) {
	w, err := newWalker(o)
	if err != nil {
		return Result{}, err
	}
	doc, err := decode(input)
	if err != nil {
		return Result{}, fmt.Errorf("walk: input is no JSON: %w", err)
	}
	return w.run(ctx, state, doc)
}

type walker struct {
	Options
	m   *graph.Machine
	res Result
}

func newWalker(o Options) (*walker, error) {
	if o.Graph == nil {
		return nil, errors.New("walk: no graph")
	}
	m, err := o.Graph.Expand()
	if err != nil {
		return nil, fmt.Errorf("walk: graph %s: %w", o.Graph.Name, err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Jitter == nil {
		o.Jitter = func(most time.Duration) time.Duration { return rand.N(most + 1) }
	}
	return &walker{Options: o, m: m}, nil
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// left is how a state was left.
type left struct {
	next   string
	reason string
	kind   EventKind
	cause  string
	result json.RawMessage
	// failed is the error that ends the execution.
	failed *NamedError
}

func (w *walker) run(ctx context.Context, name string, doc any) (Result, error) {
	if err := w.checkpoint(name, doc); err != nil {
		return w.res, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return w.res, fmt.Errorf("walk: stopped before %s: %w", name, err)
		}
		s, ok := w.m.State(name)
		if !ok {
			return w.res, fmt.Errorf("walk: graph %s has no state %s", w.m.Name, name)
		}
		at := w.Now()
		w.emit(Event{At: at, Kind: Entered}, s)
		l, out, err := w.step(ctx, s, doc)
		took := w.Now().Sub(at)
		visit := Visit{State: name, At: at, Took: took, Outcome: l.reason, Next: l.next}
		w.res.Path = append(w.res.Path, visit)
		if err != nil {
			return w.res, err
		}
		doc = out
		if l.failed == nil {
			l.failed = w.tooLarge(doc)
		}
		if l.failed != nil || s.Terminal() {
			return w.end(s, l, doc, took)
		}
		w.emit(Event{Kind: l.kind, Next: l.next, Reason: l.reason, Cause: l.cause, Section: l.result, Duration: took}, s)
		if err := w.checkpoint(l.next, doc); err != nil {
			return w.res, err
		}
		name = l.next
	}
}

// end records how the execution ended.
func (w *walker) end(s *graph.State, l left, doc any, took time.Duration) (Result, error) {
	var err error
	if w.res.Output, err = encode(doc); err != nil {
		return w.res, err
	}
	switch {
	case l.failed != nil:
		w.res.Error, w.res.Cause = l.failed.Name, l.failed.Cause
	case s.Kind == graph.Fail:
		w.res.Terminal, w.res.Error, w.res.Cause = s.Name, s.Error, s.Cause
	default:
		w.res.Terminal, w.res.Succeeded = s.Name, true
	}
	w.emit(Event{Kind: Ended, Reason: w.res.Error, Cause: w.res.Cause, Duration: took}, s)
	return w.res, w.checkpoint("", doc)
}

func (w *walker) emit(e Event, s *graph.State) {
	if w.OnEvent == nil {
		return
	}
	if e.At.IsZero() {
		e.At = w.Now()
	}
	e.State, e.Node, e.Type, e.Function, e.Op = s.Name, s.Node, s.Kind, s.Function, s.Op
	w.OnEvent(e)
}

func (w *walker) checkpoint(next string, doc any) error {
	if w.Checkpoint == nil {
		return nil
	}
	raw, err := encode(doc)
	if err != nil {
		return err
	}
	if err := w.Checkpoint(next, raw); err != nil {
		return fmt.Errorf("walk: the checkpoint before %q failed: %w", next, err)
	}
	return nil
}
