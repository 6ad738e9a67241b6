package awsio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/functions/janitor"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
)

const (
	machine   = "arn:aws:states:eu-central-1:123456789012:stateMachine:fallback"
	runID     = "shop-recover-20261120020000-9f3c"
	execution = "arn:aws:states:eu-central-1:123456789012:execution:fallback:" + runID
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// executions is one execution.
type executions struct {
	status types.ExecutionStatus
	stop   *time.Time
	input  string
	events []types.HistoryEvent
	err    error
}

func (e *executions) DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	return &sfn.DescribeExecutionOutput{Status: e.status, StopDate: e.stop, Input: aws.String(e.input)}, e.err
}

func (e *executions) GetExecutionHistory(_ context.Context, in *sfn.GetExecutionHistoryInput, _ ...func(*sfn.Options)) (*sfn.GetExecutionHistoryOutput, error) {
	list := slices.Clone(e.events)
	if in.ReverseOrder {
		slices.Reverse(list)
	}
	return &sfn.GetExecutionHistoryOutput{Events: list}, nil
}

func (e *executions) entered(state, input string) {
	e.events = append(e.events, types.HistoryEvent{Id: int64(len(e.events) + 1), Timestamp: aws.Time(noon), Type: types.HistoryEventTypeTaskStateEntered,
		StateEnteredEventDetails: &types.StateEnteredEventDetails{Name: &state, Input: &input}})
}

// redriven: somebody redrives it.
func (e *executions) redriven() {
	e.status, e.stop = types.ExecutionStatusRunning, nil
	e.plain(types.HistoryEventTypeExecutionRedriven)
}

// died: it dies, of whatever.
func (e *executions) died(at time.Time) {
	e.status, e.stop = types.ExecutionStatusTimedOut, &at
	e.plain(types.HistoryEventTypeExecutionTimedOut)
}

func (e *executions) plain(kind types.HistoryEventType) {
	e.events = append(e.events, types.HistoryEvent{Id: int64(len(e.events) + 1), Timestamp: aws.Time(noon), Type: kind})
}

// marks keeps documents as JSON, as S3 does. full makes every save after the first n fail.
type marks struct {
	saved map[string][]byte
	list  []string
	full  int
}

func (m *marks) Load(_ context.Context, id string, v any) error {
	if b, ok := m.saved[id]; ok {
		return json.Unmarshal(b, v)
	}
	return nil
}

func (m *marks) Save(_ context.Context, id string, v any) error {
	if m.full > 0 && len(m.list) >= m.full {
		return fault.Newf(fault.Unavailable, "save", "no answer")
	}
	b, err := json.Marshal(v)
	m.saved[id] = b
	m.list = append(m.list, v.(Mark).Next)
	return err
}

// setup is a handler over an execution whose steps play a script: "rollback/await" → sections, the last one again and again.
func setup(x *executions, script map[string][]string) (*Handler, *marks, *[]string) {
	m := &marks{saved: map[string][]byte{}}
	var did []string
	said := map[string]int{}
	h := &Handler{Executions: x, Marks: m, MachineARN: machine, Now: func() time.Time { return noon },
		Sleep: func(_ context.Context, d time.Duration) error { did = append(did, "wait "+d.String()); return nil }}
	h.Steps = func(visits VisitsFunc) map[string]walk.Handler {
		out := map[string]walk.Handler{}
		for f := range Steps(&step.Env{}, nil, nil)(visits) {
			out[f] = func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
				var q run.Request
				if err := json.Unmarshal(in, &q); err != nil {
					return nil, err
				}
				op := f + "/" + q.Op
				did = append(did, op)
				if f == "report" {
					vs, err := visits(ctx, q.Run)
					for _, v := range vs {
						did = append(did, v.State)
					}
					if err != nil {
						return nil, err
					}
				}
				list := script[op]
				if len(list) == 0 {
					return nil, fmt.Errorf("the script has nothing for %s", op)
				}
				n := said[op]
				said[op]++
				return json.RawMessage(list[min(n, len(list)-1)]), nil
			}
		}
		return out
	}
	return h, m, &did
}

func state(extra string) string {
	return `{"id":"` + runID + `","mode":"recover","plan":{"name":"shop","uri":"s3://plans/plans/shop.yaml"},"trigger":{"kind":"manual","at":"2026-11-20T02:00:00Z"},` +
		`"startedAt":"2026-11-20T02:00:00Z","demotions":{},"faults":{}` + extra + `}`
}

func undone() map[string][]string {
	return map[string][]string{
		"rollback/start": {`{"phase":"Started"}`}, "rollback/await": {`{"phase":"Running"}`, `{"phase":"Undone"}`},
		"lease/release": {`{"phase":"Released"}`}, "report/report": {`{"phase":"Written"}`}, "quarantine/lift": {`{"phase":"Lifted"}`},
	}
}

func payload(t *testing.T, j events.Janitor) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func request() events.Janitor {
	return events.Janitor{RunID: runID, ExecutionARN: execution, Status: "TIMED_OUT"}
}

func TestFinish(t *testing.T) {
	ago := func(d time.Duration) *time.Time { at := noon.Add(-d); return &at }
	for _, c := range []struct {
		name   string
		x      executions
		enter  []string // state, input, ...
		script map[string][]string
		want   string
		result Result
	}{
		{name: "timed out in a tier", x: executions{status: types.ExecutionStatusTimedOut, stop: ago(20 * time.Second)},
			enter:  []string{"TakeLease", state(""), "AwaitVolumeAttachmentSync", state(`,"lease":{"phase":"Held"}`)},
			script: undone(), want: "wait 40s, rollback/start, rollback/await, rollback/await, lease/release, report/report, " +
				"TakeLease, AwaitVolumeAttachmentSync, GiveUp, Rollback, AwaitRollback, OutcomeRolledBack, ReleaseLease, Report",
			result: Result{Action: Finished, RunID: runID, Outcome: run.RolledBack, Terminal: "RolledBack", Reason: "The workload was not recovered; every change was undone."}},
		{name: "stopped long ago, after the gate had passed", x: executions{status: types.ExecutionStatusAborted, stop: ago(time.Hour)},
			enter:  []string{"ReadOnlyTransactionPhase", state(`,"gate":{"phase":"Passed"}`)},
			script: undone(), want: "lease/release, report/report, ReadOnlyTransactionPhase, AfterGate, OutcomeRecovered, ReleaseLease, Report",
			result: Result{Action: Finished, RunID: runID, Outcome: run.Recovered, Terminal: "Recovered"}},
		{name: "nobody says when it stopped", x: executions{status: types.ExecutionStatusFailed},
			enter:  []string{"Admit", state("")},
			script: undone(), want: "wait 1m0s, report/report, Admit, OutcomeAbortedNoLease, Report",
			result: Result{Action: Finished, RunID: runID, Outcome: run.Aborted, Terminal: "Aborted", Reason: "The workload was not recovered; nothing was changed."}},
		{name: "died before its first state", x: executions{status: types.ExecutionStatusAborted, stop: ago(time.Hour), input: state("")},
			script: undone(), want: "report/report, OutcomeAbortedNoLease, Report",
			result: Result{Action: Finished, RunID: runID, Outcome: run.Aborted, Terminal: "Aborted", Reason: "The workload was not recovered; nothing was changed."}},
		{name: "only its report is missing", x: executions{status: types.ExecutionStatusFailed, stop: ago(time.Hour)},
			enter:  []string{"ReportFailed", state(`,"outcome":{"name":"Recovered"}`)},
			script: undone(), want: "report/report, ReportFailed, Report",
			result: Result{Action: Finished, RunID: runID, Outcome: run.Recovered, Terminal: "Recovered"}},
		{name: "redriven by a person", x: executions{status: types.ExecutionStatusRunning},
			result: Result{Action: Ignored, RunID: runID, Reason: "the execution is RUNNING"}},
		{name: "succeeded", x: executions{status: types.ExecutionStatusSucceeded},
			result: Result{Action: Ignored, RunID: runID, Reason: "the execution is SUCCEEDED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := 0; i < len(c.enter); i += 2 {
				c.x.entered(c.enter[i], c.enter[i+1])
			}
			h, m, did := setup(&c.x, c.script)
			res, err := h.HandleRaw(t.Context(), payload(t, request()))
			if err != nil || res != c.result {
				t.Fatalf("%+v, %v; want %+v", res, err, c.result)
			}
			if got := strings.Join(*did, ", "); got != c.want {
				t.Errorf("did\n%s\nwant\n%s", got, c.want)
			}
			// The request is delivered once more: nothing is done twice.
			*did = nil
			again, err := h.HandleRaw(t.Context(), payload(t, request()))
			want := c.result
			if c.result.Action == Finished {
				want.Action = AlreadyFinished
			}
			if err != nil || again != want || len(*did) != 0 {
				t.Errorf("again: %+v, %v after %v; want %+v after nothing", again, err, *did, want)
			}
			if c.result.Action == Ignored && len(m.list) != 0 {
				t.Errorf("marked %v for nothing", m.list)
			}
		})
	}
}

// TestCutShort: an invocation that ends in mid way is continued where it was, without waiting again.
func TestCutShort(t *testing.T) {
	at := noon.Add(-time.Hour)
	x := &executions{status: types.ExecutionStatusTimedOut, stop: &at}
	x.entered("AwaitControlPlaneReconcile", state(""))
	h, m, did := setup(x, undone())
	m.full = 4
	if _, err := h.HandleRaw(t.Context(), payload(t, request())); fault.From(err).Code != fault.Unavailable {
		t.Fatalf("%v: expected Unavailable, so that Lambda delivers the request again", err)
	}
	if got := strings.Join(*did, ", "); got != "rollback/start, rollback/await" {
		t.Fatalf("did %s", got)
	}
	m.full, *did = 0, nil
	res, err := h.HandleRaw(t.Context(), payload(t, request()))
	if err != nil || res.Outcome != run.RolledBack {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := strings.Join(*did, ", "); !strings.HasPrefix(got, "rollback/await, lease/release, report/report") {
		t.Errorf("did %s", got)
	}
	var mark Mark
	if err := m.Load(t.Context(), runID, &mark); err != nil || mark.End == nil || mark.Next != "" || !mark.Died.Equal(at) {
		t.Errorf("the last mark is %+v, %v", mark, err)
	}
}

// TestRedriven: somebody redrives the execution while the janitor is about to finish the run, or has finished it.
func TestRedriven(t *testing.T) {
	const (
		before = "AwaitVolumeAttachmentSync"
		walked = "rollback/start, rollback/await, rollback/await, lease/release, report/report"
	)
	died := noon.Add(-20 * time.Second)
	again := noon.Add(-5 * time.Second)
	// at has something happen when the janitor first does so.
	at := func(h *Handler, did *[]string, what string, do func()) {
		once := sync.OnceFunc(do)
		sleep, steps := h.Sleep, h.Steps
		h.Sleep = func(ctx context.Context, d time.Duration) error {
			err := sleep(ctx, d)
			if what == "wait" {
				once()
			}
			return err
		}
		h.Steps = func(visits VisitsFunc) map[string]walk.Handler {
			out := steps(visits)
			for f, step := range out {
				out[f] = func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
					section, err := step(ctx, in)
					if slices.Contains(*did, what) {
						once()
					}
					return section, err
				}
			}
			return out
		}
	}
	did := func(t *testing.T, did *[]string, want string) {
		t.Helper()
		var steps []string
		for _, d := range *did {
			if strings.Contains(d, "/") || strings.HasPrefix(d, "wait") {
				steps = append(steps, d)
			}
		}
		if got := strings.Join(steps, ", "); got != want {
			t.Errorf("did\n%s\nwant\n%s", got, want)
		}
		*did = nil
	}
	handle := func(t *testing.T, h *Handler, action Action, reason string) Result {
		t.Helper()
		res, err := h.HandleRaw(t.Context(), payload(t, request()))
		if err != nil || res.Action != action || !strings.Contains(res.Reason, reason) {
			t.Errorf("%+v, %v; want %s with the reason %q", res, err, action, reason)
		}
		return res
	}
	t.Run("during the quiet wait", func(t *testing.T) {
		x := &executions{}
		x.entered(before, state(""))
		x.died(died)
		h, m, doing := setup(x, undone())
		at(h, doing, "wait", x.redriven)
		handle(t, h, Ignored, "the run was redriven: the execution is RUNNING")
		did(t, doing, "wait 40s")
		if len(m.list) != 0 {
			t.Errorf("marked %v", m.list)
		}
	})
	t.Run("during the quiet wait, and dead again", func(t *testing.T) {
		x := &executions{}
		x.entered(before, state(""))
		x.died(died)
		h, _, doing := setup(x, undone())
		at(h, doing, "wait", func() { x.redriven(); x.died(again) })
		handle(t, h, Ignored, "the run was redriven: the execution died again at 2026-11-20T11:59:55Z")
		did(t, doing, "wait 40s")
		// Its own event.
		handle(t, h, Finished, "")
		did(t, doing, "wait 55s, "+walked)
	})
	t.Run("in mid-walk", func(t *testing.T) {
		x := &executions{}
		x.entered(before, state(""))
		x.died(died)
		h, _, doing := setup(x, undone())
		at(h, doing, "rollback/await", x.redriven)
		handle(t, h, Ignored, "the run was redriven")
		did(t, doing, "wait 40s, rollback/start, rollback/await")
		// The event of the first death comes once more while the run goes on, and when it has died again.
		handle(t, h, Ignored, "the execution is RUNNING")
		did(t, doing, "")
		x.died(again)
		handle(t, h, Finished, "")
		did(t, doing, "wait 55s, rollback/start, rollback/await, lease/release, report/report") // the first answer of await was given before
		handle(t, h, AlreadyFinished, "")
		did(t, doing, "")
	})
	t.Run("finished before it took a lease, redriven, and dead again", func(t *testing.T) {
		x := &executions{}
		x.entered("HoldDown", state(""))
		x.died(died)
		h, _, doing := setup(x, undone())
		if res := handle(t, h, Finished, ""); res.Outcome != run.Aborted {
			t.Errorf("%+v, want Aborted", res)
		}
		did(t, doing, "wait 40s, report/report")
		x.redriven()
		x.entered("TakeLease", state(""))
		x.entered(before, state(`,"lease":{"phase":"Held"}`))
		handle(t, h, Ignored, "the execution is RUNNING")
		x.died(again)
		if res := handle(t, h, Finished, ""); res.Outcome != run.RolledBack {
			t.Errorf("%+v, want RolledBack", res)
		}
		did(t, doing, "wait 55s, "+walked)
		handle(t, h, AlreadyFinished, "")
		did(t, doing, "")
	})
	t.Run("finished, redriven, dead again, and what is left cannot be undone", func(t *testing.T) {
		x := &executions{}
		x.entered("Admit", state(""))
		x.died(died)
		script := undone()
		script["rollback/await"] = []string{`{"phase":"Incomplete"}`}
		h, _, doing := setup(x, script)
		handle(t, h, Finished, "")
		did(t, doing, "wait 40s, report/report")
		x.redriven()
		x.entered(before, state(""))
		x.died(again)
		if res := handle(t, h, Finished, ""); res.Outcome != run.Dirty {
			t.Errorf("%+v, want Dirty", res)
		}
		did(t, doing, "wait 55s, rollback/start, rollback/await, report/report") // the lease is kept
	})
	t.Run("cut short, then redriven", func(t *testing.T) {
		x := &executions{}
		x.entered(before, state(""))
		x.died(died)
		h, m, doing := setup(x, undone())
		m.full = 4
		if _, err := h.HandleRaw(t.Context(), payload(t, request())); fault.From(err).Code != fault.Unavailable {
			t.Fatalf("%v: expected Unavailable, so that Lambda delivers the request again", err)
		}
		did(t, doing, "wait 40s, rollback/start, rollback/await")
		m.full = 0
		x.redriven()
		handle(t, h, Ignored, "the execution is RUNNING")
		did(t, doing, "")
		// What it died in now counts, not what the mark says.
		x.entered("ReadOnlyTransactionPhase", state(`,"gate":{"phase":"Passed"}`))
		x.died(again)
		if res := handle(t, h, Finished, ""); res.Outcome != run.Recovered {
			t.Errorf("%+v, want Recovered", res)
		}
		did(t, doing, "wait 55s, lease/release, report/report")
	})
	t.Run("nobody can tell", func(t *testing.T) {
		x := &executions{}
		x.entered(before, state(""))
		x.died(died)
		h, _, doing := setup(x, undone())
		at(h, doing, "rollback/start", func() { x.err = &smithy.GenericAPIError{Code: "ThrottlingException"} })
		if _, err := h.HandleRaw(t.Context(), payload(t, request())); fault.From(err).Code != fault.Throttled {
			t.Errorf("%v: expected Throttled, so that Lambda delivers the request again", err)
		}
		did(t, doing, "wait 40s, rollback/start")
		x.err = nil
		handle(t, h, Finished, "")
		// The step after which nobody could tell is not marked, and done once more.
		did(t, doing, walked)
	})
}

// TestUnderAnotherName: an execution that was stopped before admit refused its name is not the run.
func TestUnderAnotherName(t *testing.T) {
	x := &executions{}
	x.entered("Admit", state(""))
	x.died(noon.Add(-time.Hour))
	h, m, did := setup(x, undone())
	q := request()
	q.ExecutionARN = strings.Replace(execution, runID, "0f9b2a6e", 1)
	res, err := h.HandleRaw(t.Context(), payload(t, q))
	if err != nil || res.Action != Ignored || !strings.Contains(res.Reason, `name is "0f9b2a6e"`) || len(*did) != 0 || len(m.list) != 0 {
		t.Errorf("%+v, %v after %v, marked %v; want Ignored and nothing done", res, err, *did, m.list)
	}
}

func TestRefuses(t *testing.T) {
	other := request()
	other.ExecutionARN = strings.Replace(execution, ":fallback:", ":other:", 1)
	nameless := request()
	nameless.RunID = ""
	at := noon.Add(-time.Hour)
	foreign := &executions{status: types.ExecutionStatusFailed, stop: &at, input: `{"id":"another"}`}
	gone := &executions{err: &types.ExecutionDoesNotExist{}}
	for name, c := range map[string]struct {
		payload json.RawMessage
		x       *executions
	}{
		"not JSON":             {json.RawMessage(`{`), &executions{}},
		"another machine":      {payload(t, other), &executions{}},
		"no run":               {payload(t, nameless), &executions{}},
		"another run's state":  {payload(t, request()), foreign},
		"no such execution":    {payload(t, request()), gone},
		"an event, unparsed":   {json.RawMessage(`{"source":"aws.states"}`), &executions{}},
		"no run in the states": {payload(t, request()), &executions{status: types.ExecutionStatusAborted, input: `[]`}},
	} {
		t.Run(name, func(t *testing.T) {
			h, m, did := setup(c.x, undone())
			_, err := h.HandleRaw(t.Context(), c.payload)
			if f := fault.From(err); f == nil || f.Code != fault.InputInvalid || len(*did) != 0 || len(m.list) != 0 {
				t.Errorf("%v after %v, marked %v; want InputInvalid and nothing done", err, *did, m.list)
			}
		})
	}
}

// TestStepsAreEnough: from wherever the janitor takes a run up, only functions that it has can be reached.
func TestStepsAreEnough(t *testing.T) {
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	have := Steps(&step.Env{}, nil, nil)(nil)
	seen := map[string]bool{}
	var todo []string
	for _, s := range append(m.States, m.States[0]) {
		for _, mode := range []run.Mode{run.Evaluate, run.Recover, run.Drill} {
			todo = append(todo, janitor.From(s.Name, run.Run{Mode: mode}), janitor.From(s.Name, run.Run{Mode: mode, Gate: &run.Gate{Phase: run.Passed}}))
		}
	}
	used := map[string]bool{}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		s, ok := m.State(name)
		if !ok {
			t.Fatal(errors.New(name + " is not in the graph"))
		}
		if s.Function != "" && have[s.Function] == nil {
			t.Errorf("%s calls %s, which the janitor does not have", name, s.Function)
		}
		used[s.Function] = true
		todo = append(todo, s.Targets()...)
	}
	for f := range have {
		if !used[f] {
			t.Errorf("the janitor has %s and never needs it", f)
		}
	}
}
