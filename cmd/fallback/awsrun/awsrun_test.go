package awsrun

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

var began = time.Date(2026, 11, 20, 9, 15, 0, 0, time.UTC)

func newRun(mode run.Mode, hash string) run.Run {
	return run.Run{ID: "shop-" + string(mode) + "-20261120091500-" + hash, Mode: mode, StartedAt: began,
		Trigger:   run.Trigger{Kind: run.Manual, At: began, Requester: "kim"},
		Plan:      run.PlanRef{Name: "shop", URI: "s3://fallback-plans/shop.yaml"},
		Demotions: map[string]run.Demotion{}, Faults: map[string]run.CaughtFault{}}
}

// fallbackGraph is THE graph, with retries after a second at most, because moto waits for them in real time.
func fallbackGraph() *graph.Graph {
	g := chain.Fallback()
	g.FaultRetry.Interval, g.FaultRetry.MaxDelay = time.Second, time.Second
	return g
}

// script holds what the functions say, by state; the last answer of a state is repeated. A text that begins with '!' is a
// fault: "!Code: message".
type script map[string][]string

// player plays a script. Every execution has its own.
type player struct {
	mu   sync.Mutex
	said map[string]int
	script
}

func (p *player) answer(req run.Request) (json.RawMessage, *faultAnswer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.script[req.State]
	if len(list) == 0 {
		return nil, &faultAnswer{"Internal", "the script has nothing for " + req.State}
	}
	if p.said == nil {
		p.said = map[string]int{}
	}
	a := list[min(p.said[req.State], len(list)-1)]
	p.said[req.State]++
	if f, ok := strings.CutPrefix(a, "!"); ok {
		code, message, _ := strings.Cut(f, ": ")
		return nil, &faultAnswer{code, message}
	}
	return json.RawMessage(a), nil
}

// handlers plays the same script for a walk.
func (p *player) handlers(m *graph.Machine) map[string]walk.Handler {
	out := map[string]walk.Handler{}
	for _, f := range m.Functions() {
		out[f] = func(_ context.Context, in json.RawMessage) (json.RawMessage, error) {
			var req run.Request
			if err := json.Unmarshal(in, &req); err != nil {
				return nil, err
			}
			section, failed := p.answer(req)
			if failed != nil {
				return nil, &walk.NamedError{Name: failed.code, Cause: failed.message}
			}
			return section, nil
		}
	}
	return out
}

func signals(true_ ...signal.Name) string {
	s := signal.AllUnknown("NotRead", "")
	for _, n := range true_ {
		s[n] = signal.Signal{Status: signal.True, Reason: "Read"}
	}
	b, _ := json.Marshal(run.Assess{Phase: run.Assessed, At: began, Signals: s})
	return string(b)
}

const admitted = `{"phase":"Admitted","tiers":{"VolumeAttachmentSync":true,"ControlPlaneReconcile":true,"DegradedStatefulSet":true},"target":"shop"}`

// recovery is a recover that meets a retry, rounds of an Await, a phase that demotes and a fault that demotes.
func recovery() script {
	return script{
		"Admit":                                  {admitted},
		"TakeLease":                              {"!Throttled: slow down", `{"phase":"Held","name":"shop"}`},
		"CaptureRollbackPoint":                   {`{"phase":"Running","rounds":1}`, `{"phase":"Captured"}`},
		"AssessCluster":                          {signals(signal.CSIDriverHealthy, signal.PVCsBound)},
		"VolumeAttachmentSync":                   {`{"phase":"Started"}`},
		"AwaitVolumeAttachmentSync":              {`{"phase":"Running","rounds":1}`, "!BudgetExceeded: 15m0s are over"},
		"AssessAfterVolumeAttachmentSync":        {signals(signal.InventoryVerified, signal.APIServerReady)},
		"AssessClusterAfterVolumeAttachmentSync": {signals(signal.InventoryVerified, signal.APIServerReady)},
		"IsolateWorkload":                        {`{"phase":"Applied","namespace":"shop","wanted":"Applied"}`},
		"VerifyIsolation":                        {`{"phase":"Verified","namespace":"shop","wanted":"Applied"}`},
		"DegradedStatefulSet":                    {`{"phase":"Started"}`},
		"AwaitDegradedStatefulSet":               {`{"phase":"Succeeded"}`},
		"ApplicationGate":                        {`{"phase":"Ready"}`},
		"ReadOnlyTransaction":                    {`{"phase":"Passed"}`},
		"LiftQuarantine":                         {`{"phase":"Lifted","namespace":"shop","wanted":"Applied"}`},
		"ReleaseLease":                           {`{"phase":"Released"}`},
		"Report":                                 {`{"phase":"Written","json":"j","markdown":"m","html":"h","digest":"d"}`},
	}
}

func undone() script {
	s := recovery()
	s["ReadOnlyTransaction"] = []string{`{"phase":"Refused","reason":"Expectation"}`}
	s["Rollback"] = []string{`{"phase":"Started"}`}
	s["AwaitRollback"] = []string{`{"phase":"Undone"}`}
	return s
}

func heldByAlarm() script {
	s := script{"Admit": {`{"phase":"Hold","holdUntil":"2026-01-01T00:00:00Z"}`}, "ConfirmAlarm": {`{"phase":"Skipped","reason":"AlarmCleared"}`}}
	return s
}

// TestFollowTellsWhatWalkTells executes the rendered graph in moto and walks the same graph in this process with the same
// answers: the events and the result must be the same, but for the times.
func TestFollowTellsWhatWalkTells(t *testing.T) {
	g := fallbackGraph()
	m, err := g.Expand()
	if err != nil {
		t.Fatal(err)
	}
	e, c := newEdge(t)
	machine := create(t, c, g)
	for i, tc := range []struct {
		name     string
		mode     run.Mode
		script   script
		terminal string
		least    int
	}{
		{"recovered at the last tier", run.Recover, recovery(), "Recovered", 20},
		{"gate says no", run.Recover, undone(), "RolledBack", 20},
		{"evaluated", run.Evaluate, script{"Admit": {admitted}, "AssessOnly": {`{"phase":"Running"}`, signals()}, "Report": {`{"phase":"Written"}`}}, "Evaluated", 8},
		{"refused", run.Failover, script{"Admit": {"!ModeNotSupported: failover is not built yet"}}, "Refused", 2},
		{"held and skipped", run.Recover, heldByAlarm(), "Skipped", 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRun(tc.mode, fmt.Sprintf("%04d", i))
			input, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var walked, followed []walk.Event
			walkRes, err := walk.Walk(t.Context(), walk.Options{Graph: g, Handlers: (&player{script: tc.script}).handlers(m),
				Sleep: func(context.Context, time.Duration) error { return nil }, OnEvent: func(e walk.Event) { walked = append(walked, e) }}, input)
			if err != nil {
				t.Fatal(err)
			}
			e.play(tc.script)
			arn, err := Start(t.Context(), c, machine, r)
			if err != nil {
				t.Fatal(err)
			}
			res, err := Follow(t.Context(), c, arn, Options{Machine: m, OnEvent: func(e walk.Event) { followed = append(followed, e) }, Wait: quick})
			if err != nil {
				t.Fatal(err)
			}
			if walkRes.Terminal != tc.terminal || len(walked) < tc.least {
				t.Fatalf("walk: terminal %q after %d events, want %q after at least %d", walkRes.Terminal, len(walked), tc.terminal, tc.least)
			}
			compare(t, "events", walked, followed)
			for i := range followed[1:] {
				if followed[i+1].At.Before(followed[i].At) || followed[i].At.IsZero() {
					t.Errorf("event %d is at %s, before event %d at %s", i+1, followed[i+1].At, i, followed[i].At)
				}
			}
			walkRes.Output, res.Output = nil, nil // what a Catch writes is wrapped by Lambda there
			compare(t, "result", walkRes, res)
		})
	}
}

// compare leaves out times, and compares JSON as JSON.
func compare(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got,
		cmpopts.IgnoreFields(walk.Event{}, "At", "Duration"), cmpopts.IgnoreFields(walk.Visit{}, "At", "Took"),
		cmp.Comparer(func(a, b json.RawMessage) bool {
			var x, y any
			_, _ = json.Unmarshal(a, &x), json.Unmarshal(b, &y)
			return cmp.Equal(x, y)
		})); d != "" {
		t.Errorf("%s of the walk (-) and of the execution (+):\n%s", what, d)
	}
}

func (e *edge) play(s script) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = (&player{script: s}).answer
}

// quick waits shortly: moto works on its own meanwhile.
func quick(ctx context.Context, d time.Duration) error { return wait(ctx, min(d, 20*time.Millisecond)) }
