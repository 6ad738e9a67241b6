package walk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

// clock is a clock that only its own sleeps move.
type clock struct {
	now   time.Time
	slept []time.Duration
}

func (c *clock) Now() time.Time { return c.now }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.slept = append(c.slept, d)
	c.now = c.now.Add(d)
	return ctx.Err()
}

var start = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// small is a graph of one task with the given retries and catches, between start and its ends.
func small(on func(*graph.Graph)) *graph.Graph {
	g := &graph.Graph{
		Name: "small", Start: "Work", Mode: "$.mode", Modes: []string{"recover"},
		Timing:       graph.Timing{Task: time.Minute, Function: time.Minute},
		ServiceRetry: graph.Retry{Errors: []string{"Lambda.ServiceException"}, Interval: time.Second, Backoff: 2, MaxAttempts: 2},
		FaultRetry:   graph.Retry{Errors: []string{"Throttled"}, Interval: 2 * time.Second, Backoff: 3, MaxAttempts: 4, MaxDelay: 10 * time.Second},
		Nodes: []graph.Node{
			{Name: "Work", Kind: graph.Await, Call: "work/do", Section: "work", Budget: "b",
				On: []graph.On{{Phase: "Succeeded", Next: "Done"}}, Fault: "Broken"},
			{Name: "Done", Kind: graph.Succeed},
			{Name: "Broken", Kind: graph.Fail, Cause: "because"},
		},
	}
	if on != nil {
		on(g)
	}
	return g
}

// answers is a handler that gives one answer after the other: a JSON section or an error.
func answers(list ...any) walk.Handler {
	i := 0
	return func(context.Context, json.RawMessage) (json.RawMessage, error) {
		if i >= len(list) {
			return nil, errors.New("called too often")
		}
		a := list[i]
		i++
		if err, ok := a.(error); ok {
			return nil, err
		}
		return json.RawMessage(a.(string)), nil
	}
}

func path(r walk.Result) string {
	names := make([]string, len(r.Path))
	for i, v := range r.Path {
		names[i] = v.State
	}
	return strings.Join(names, " ")
}

func TestTask(t *testing.T) {
	throttled := fault.New(fault.Throttled, "list", nil)
	service := &walk.NamedError{Name: "Lambda.ServiceException"}
	seconds := func(n ...int) (out []time.Duration) {
		for _, s := range n {
			out = append(out, time.Duration(s)*time.Second)
		}
		return out
	}
	for _, c := range []struct {
		name    string
		answers []any
		path    string
		slept   []time.Duration
		error   string
		output  string
	}{
		{"an answer ends it", []any{`{"phase":"Succeeded"}`}, "Work WorkPhase Done", nil, "", `{"mode":"recover","work":{"phase":"Succeeded"}}`},
		{"running comes back", []any{`{"phase":"Running"}`, `{"phase":"Running"}`, `{"phase":"Succeeded"}`},
			"Work WorkPhase Work WorkPhase Work WorkPhase Done", nil, "", ""},
		{"an unknown phase fails closed", []any{`{"phase":"Whatever"}`}, "Work WorkPhase Broken", nil, "Broken", ""},
		{"a retry backs off up to the greatest delay", []any{throttled, throttled, throttled, `{"phase":"Succeeded"}`},
			"Work WorkPhase Done", seconds(2, 6, 10), "", ""},
		{"retries run out", []any{throttled, throttled, throttled, throttled, throttled}, "Work Broken", seconds(2, 6, 10, 10), "Broken",
			`{"faults":{"work":{"Cause":"Throttled: list","Error":"Throttled"}},"mode":"recover"}`},
		{"each retrier counts for itself", []any{service, throttled, service, `{"phase":"Succeeded"}`}, "Work WorkPhase Done", seconds(1, 2, 2), "", ""},
		{"a new visit counts anew", []any{service, service, `{"phase":"Running"}`, service, service, `{"phase":"Succeeded"}`},
			"Work WorkPhase Work WorkPhase Done", seconds(1, 2, 1, 2), "", ""},
		{"another error is not retried", []any{fault.New(fault.PlanInvalid, "read plan", nil)}, "Work Broken", nil, "Broken", ""},
		{"an error without a code is Internal", []any{errors.New("what")}, "Work Broken", nil, "Broken",
			`{"faults":{"work":{"Cause":"Internal: unclassified error: what","Error":"Internal"}},"mode":"recover"}`},
		{"a section over the limit is Internal", []any{fmt.Sprintf(`{"phase":"Succeeded","x":%q}`, strings.Repeat("x", run.SectionLimit))}, "Work Broken", nil, "Broken", ""},
		{"no JSON is Internal", []any{`{`}, "Work Broken", nil, "Broken", ""},
		{"a section without a phase ends the execution", []any{`{}`}, "Work WorkPhase", nil, walk.ErrRuntime, ""},
		{"States.ALL does not catch the data limit", []any{&walk.NamedError{Name: walk.ErrDataLimit}}, "Work", nil, walk.ErrDataLimit, ""},
		{"States.ALL does not catch a runtime error", []any{&walk.NamedError{Name: walk.ErrRuntime}}, "Work", nil, walk.ErrRuntime, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &clock{now: start}
			res, err := walk.Walk(t.Context(), walk.Options{Graph: small(nil), Handlers: map[string]walk.Handler{"work": answers(c.answers...)},
				Now: k.Now, Sleep: k.Sleep, Jitter: func(most time.Duration) time.Duration { return most }}, json.RawMessage(`{"mode":"recover"}`))
			if err != nil {
				t.Fatal(err)
			}
			if path(res) != c.path || res.Error != c.error || res.Succeeded != (c.error == "") {
				t.Errorf("path %q, error %q (%s); want %q, %q", path(res), res.Error, res.Cause, c.path, c.error)
			}
			if !slices.Equal(k.slept, c.slept) {
				t.Errorf("slept %v; want %v", k.slept, c.slept)
			}
			if c.output != "" && string(res.Output) != c.output {
				t.Errorf("output %s; want %s", res.Output, c.output)
			}
		})
	}
}

func TestRequestHoldsOpStateAndRun(t *testing.T) {
	var got json.RawMessage
	h := func(_ context.Context, in json.RawMessage) (json.RawMessage, error) {
		got = in
		return json.RawMessage(`{"phase":"Succeeded"}`), nil
	}
	if _, err := walk.Walk(t.Context(), walk.Options{Graph: small(nil), Handlers: map[string]walk.Handler{"work": h}}, json.RawMessage(`{"mode":"recover","n":12345678901234567890}`)); err != nil {
		t.Fatal(err)
	}
	if want := `{"op":"do","run":{"mode":"recover","n":12345678901234567890},"state":"Work"}`; string(got) != want {
		t.Errorf("request %s; want %s", got, want)
	}
}

func TestAPanicIsInternal(t *testing.T) {
	h := func(context.Context, json.RawMessage) (json.RawMessage, error) { panic("oops") }
	res, err := walk.Walk(t.Context(), walk.Options{Graph: small(nil), Handlers: map[string]walk.Handler{"work": h}}, json.RawMessage(`{}`))
	if err != nil || path(res) != "Work Broken" || !strings.Contains(string(res.Output), "oops") {
		t.Errorf("%v %s %s", err, path(res), res.Output)
	}
}

func TestPayloadLimit(t *testing.T) {
	big := fmt.Sprintf(`{"mode":%q}`, strings.Repeat("x", run.PayloadLimit-len(`{"op":"do","run":,"state":"Work"}`)-len(`{"mode":""}`)))
	for _, c := range []struct{ name, input, path string }{
		{"the input is too large", big + " ", "Work"},
		{"the state becomes too large", strings.Replace(big, "x", "", 1), "Work"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, err := walk.Walk(t.Context(), walk.Options{Graph: small(nil), Handlers: map[string]walk.Handler{"work": answers(fmt.Sprintf(`{"phase":"Succeeded","x":%q}`, strings.Repeat("y", 100)))}}, json.RawMessage(c.input))
			if err != nil || res.Error != walk.ErrDataLimit || path(res) != c.path {
				t.Errorf("%v: error %q, path %q", err, res.Error, path(res))
			}
		})
	}
}

func TestPassAndWait(t *testing.T) {
	g := small(func(g *graph.Graph) {
		g.Start = "Copy"
		g.Nodes = append(g.Nodes,
			graph.Node{Name: "Copy", Kind: graph.Pass, InputPath: "$.a", ResultPath: "$.kept.deep.a", Next: "Constant"},
			graph.Node{Name: "Constant", Kind: graph.Pass, Result: map[string]string{"name": "x"}, ResultPath: "$.a", Next: "Hold"},
			graph.Node{Name: "Hold", Kind: graph.Wait, TimestampPath: "$.until", Next: "Done"})
	})
	for _, c := range []struct {
		name, input, output, error string
		slept                      int
	}{
		{"waits", `{"a":{"b":[1]},"until":"2026-03-01T03:02:00Z"}`, `{"a":{"name":"x"},"kept":{"deep":{"a":{"b":[1]}}},"until":"2026-03-01T03:02:00Z"}`, "", 1},
		{"does not wait for the past", `{"a":1,"until":"2026-03-01T02:00:00+00:00"}`, "", "", 0},
		{"a missing copy ends it", `{"until":"2026-03-01T03:02:00Z"}`, "", walk.ErrRuntime, 0},
		{"a missing time ends it", `{"a":1}`, "", walk.ErrRuntime, 0},
		{"no time ends it", `{"a":1,"until":"soon"}`, "", walk.ErrRuntime, 0},
		{"an object in the way ends it", `{"a":1,"kept":3,"until":"2026-03-01T02:00:00Z"}`, "", walk.ErrRuntime, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &clock{now: start}
			res, err := walk.Walk(t.Context(), walk.Options{Graph: g, Now: k.Now, Sleep: k.Sleep}, json.RawMessage(c.input))
			if err != nil || res.Error != c.error || len(k.slept) != c.slept || (c.output != "" && string(res.Output) != c.output) {
				t.Errorf("%v: error %q (%s), slept %v, output %s", err, res.Error, res.Cause, k.slept, res.Output)
			}
		})
	}
}

func TestCheckpointBeforeEachState(t *testing.T) {
	var order []string
	handler := answers(`{"phase":"Running"}`, `{"phase":"Succeeded"}`)
	o := walk.Options{Graph: small(nil), Handlers: map[string]walk.Handler{"work": func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
		order = append(order, "call")
		return handler(ctx, in)
	}}, Checkpoint: func(next string, state json.RawMessage) error {
		order = append(order, next+string(state))
		return nil
	}}
	if _, err := walk.Walk(t.Context(), o, json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	running, done := `{"work":{"phase":"Running"}}`, `{"work":{"phase":"Succeeded"}}`
	want := []string{"Work{}", "call", "WorkPhase" + running, "Work" + running, "call", "WorkPhase" + done, "Done" + done, done}
	if !slices.Equal(order, want) {
		t.Errorf("got %q; want %q", order, want)
	}
}

func TestAFailedCheckpointStopsBeforeTheNextState(t *testing.T) {
	full := errors.New("disk full")
	o := walk.Options{Graph: small(nil), Handlers: map[string]walk.Handler{"work": answers(`{"phase":"Succeeded"}`)},
		Checkpoint: func(next string, _ json.RawMessage) error {
			if next == "WorkPhase" {
				return full
			}
			return nil
		}}
	res, err := walk.Walk(t.Context(), o, json.RawMessage(`{}`))
	if !errors.Is(err, full) || path(res) != "Work" {
		t.Errorf("%v, path %s", err, path(res))
	}
}

func TestResumeGoesOnWhereItStopped(t *testing.T) {
	o := walk.Options{Graph: small(nil), Handlers: map[string]walk.Handler{}}
	res, err := walk.Resume(t.Context(), o, "WorkPhase", json.RawMessage(`{"work":{"phase":"Succeeded"}}`))
	if err != nil || path(res) != "WorkPhase Done" {
		t.Errorf("%v, path %s", err, path(res))
	}
}

func TestACancelledContextStopsAndIsNoEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	res, err := walk.Walk(ctx, walk.Options{Graph: small(nil), Handlers: map[string]walk.Handler{"work": h}}, json.RawMessage(`{}`))
	if !errors.Is(err, context.Canceled) || res.Terminal != "" {
		t.Errorf("%v, terminal %q", err, res.Terminal)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     walk.Options
		input string
		want  string
	}{
		{"no graph", walk.Options{}, `{}`, "no graph"},
		{"no handler", walk.Options{Graph: small(nil)}, `{}`, "function work, which has no handler"},
		{"no state", walk.Options{Graph: small(func(g *graph.Graph) { g.Start = "Nowhere" })}, `{}`, "no state Nowhere"},
		{"no input", walk.Options{Graph: small(nil)}, `{`, "input is no JSON"},
		{"two inputs", walk.Options{Graph: small(nil)}, `{}{}`, "more than one"},
		{"two states of a name", walk.Options{Graph: small(func(g *graph.Graph) { g.Nodes = append(g.Nodes, g.Nodes[1]) })}, `{}`, "two states are named Done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := walk.Walk(t.Context(), c.o, json.RawMessage(c.input)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

func TestEventsTellWhy(t *testing.T) {
	var got []string
	g := small(func(g *graph.Graph) {
		g.Nodes = append(g.Nodes, graph.Node{Name: "Pick", Kind: graph.Choice, Rules: []graph.Rule{{When: cond.Equals("$.mode", "recover"), Next: "Work"}}, Default: "Broken"})
		g.Start = "Pick"
	})
	o := walk.Options{Graph: g, Handlers: map[string]walk.Handler{"work": answers(fault.New(fault.Throttled, "get", nil), fault.New(fault.LeaseLost, "get", nil))},
		Sleep:   func(context.Context, time.Duration) error { return nil },
		OnEvent: func(e walk.Event) { got = append(got, fmt.Sprintf("%s %s %s>%s", e.Kind, e.State, e.Reason, e.Next)) }}
	if _, err := walk.Walk(t.Context(), o, json.RawMessage(`{"mode":"recover"}`)); err != nil {
		t.Fatal(err)
	}
	want := []string{"Entered Pick >", "Exited Pick mode is recover>Work", "Entered Work >", "Retried Work Throttled>", "Caught Work LeaseLost>Broken",
		"Entered Broken >", "Ended Broken Broken>"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestAdapt(t *testing.T) {
	h := walk.Adapt(func(_ context.Context, op, state string, r run.Run) (run.Tier, error) {
		if op != "start" {
			return run.Tier{}, fault.New(fault.NotQualified, "look", nil)
		}
		return run.Tier{Phase: run.Started, Reason: state + " " + r.ID}, nil
	})
	out, err := h(t.Context(), json.RawMessage(`{"op":"start","state":"S","run":{"id":"r"}}`))
	if err != nil || string(out) != `{"phase":"Started","reason":"S r"}` {
		t.Errorf("%s, %v", out, err)
	}
	for in, code := range map[string]fault.Code{`{"op":"x"}`: fault.NotQualified, `{`: fault.InputInvalid} {
		if _, err := h(t.Context(), json.RawMessage(in)); fault.From(err).Code != code {
			t.Errorf("%s: %v; want %s", in, err, code)
		}
	}
}

func TestTheRealGraphWalks(t *testing.T) {
	sections := map[string]string{"admit": `{"phase":"Skipped"}`}
	handlers := map[string]walk.Handler{}
	for f, s := range sections {
		handlers[f] = answers(s)
	}
	res, err := walk.Walk(t.Context(), walk.Options{Graph: chain.Fallback(), Handlers: handlers}, json.RawMessage(`{"mode":"recover"}`))
	if err != nil || res.Terminal != "Skipped" || !res.Succeeded {
		t.Errorf("%+v %v", res, err)
	}
}
