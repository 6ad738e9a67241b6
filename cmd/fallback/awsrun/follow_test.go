package awsrun

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// ids of what was told, to compare followers of one execution with each other.
func told(events []walk.Event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = fmt.Sprintf("%s %s %s %s %d", e.Kind, e.State, e.Next, e.Reason, e.Attempt)
	}
	return out
}

// TestPagesExpiryAndThrottling follows one execution, while it runs and after it has ended, through pages of few events,
// page tokens that expire and an API that throttles: the events are the same, each once.
func TestPagesExpiryAndThrottling(t *testing.T) {
	g := fallbackGraph()
	m, err := g.Expand()
	if err != nil {
		t.Fatal(err)
	}
	e, c := newEdge(t)
	machine := create(t, c, g)
	e.play(recovery())
	arn, err := Start(t.Context(), c, machine, newRun(run.Recover, "aaaa"))
	if err != nil {
		t.Fatal(err)
	}
	follow := func() []string {
		var events []walk.Event
		res, err := Follow(t.Context(), c, arn, Options{Machine: m, OnEvent: func(e walk.Event) { events = append(events, e) }, Wait: quick})
		if err != nil || !res.Succeeded || res.Terminal != "Recovered" {
			t.Fatalf("%+v, %v", res, err)
		}
		return told(events)
	}
	e.page = 25
	running := follow() // it is under way: pages grow while they are read
	before := e.count("GetExecutionHistory")
	ended := follow()
	if pages := e.count("GetExecutionHistory") - before; pages < 5 {
		t.Errorf("%d pages were read, want at least 5", pages)
	}
	e.mu.Lock()
	e.expire = 1
	e.mu.Unlock()
	expired := follow()
	e.mu.Lock()
	e.throttle["GetExecutionHistory"] = 3
	e.mu.Unlock()
	throttled := follow()
	for name, got := range map[string][]string{"running": running, "a token expired": expired, "throttled": throttled} {
		if d := cmp.Diff(ended, got); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
	// An API that only throttles is given up in the end, and the error says what it was.
	e.mu.Lock()
	e.throttle["GetExecutionHistory"] = 1000
	e.mu.Unlock()
	_, err = Follow(t.Context(), c, arn, Options{Machine: m, Wait: func(context.Context, time.Duration) error { return nil }})
	if f := fault.From(err); f == nil || f.Code != fault.Throttled {
		t.Errorf("%v, want Throttled", err)
	}
}

// blocked is a script whose task in the state does not answer before release is closed.
func (e *edge) block(s script, state string, release <-chan struct{}) <-chan struct{} {
	p := &player{script: s}
	reached := make(chan struct{})
	var once sync.Once
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = func(req run.Request) (json.RawMessage, *faultAnswer) {
		if req.State == state {
			once.Do(func() { close(reached) })
			<-release
		}
		return p.answer(req)
	}
	return reached
}

// TestAbortWhileFollowed: the execution is stopped in the middle of a task, and the follower tells that it ended so.
func TestAbortWhileFollowed(t *testing.T) {
	g := fallbackGraph()
	m, err := g.Expand()
	if err != nil {
		t.Fatal(err)
	}
	e, c := newEdge(t)
	machine := create(t, c, g)
	release := make(chan struct{})
	unblock := sync.OnceFunc(func() { close(release) })
	defer unblock()
	reached := e.block(recovery(), "CaptureRollbackPoint", release)
	arn, err := Start(t.Context(), c, machine, newRun(run.Recover, "abcd"))
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	d, err := Describe(t.Context(), c, arn)
	if err != nil || d.Status != "RUNNING" || d.Run.Lease == nil || d.Run.Lease.Phase != run.Held {
		t.Errorf("a run under way: %+v, %v; want RUNNING with its lease", d, err)
	}
	var events []walk.Event
	res, err := Follow(t.Context(), c, arn, Options{Machine: m, Wait: quick, OnEvent: func(e walk.Event) {
		events = append(events, e)
		if e.State == "CaptureRollbackPoint" && e.Kind == walk.Entered {
			if err := Abort(t.Context(), c, arn, "kim"); err != nil {
				t.Error(err)
			}
			unblock() // moto stops between two steps of its own, not in the middle of a call
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1]
	if last.Kind != walk.Ended || last.State != "CaptureRollbackPoint" || res.Succeeded || res.Terminal != "" || res.Error == "" {
		t.Errorf("last event %+v, result %+v; want Ended in CaptureRollbackPoint, not succeeded, with an error", last, res)
	}
	if d, err := Describe(t.Context(), c, arn); err != nil || d.Status != "ABORTED" || d.EndedAt.IsZero() {
		t.Errorf("%+v, %v; want ABORTED", d, err)
	}
}
