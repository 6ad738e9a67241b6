package history

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
)

var began = time.Date(2026, 11, 20, 9, 15, 0, 0, time.UTC)

func told(events []walk.Event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = fmt.Sprintf("%s %s %s %s %d", e.Kind, e.State, e.Next, e.Reason, e.Attempt)
	}
	return out
}

// written writes an execution's history event by event, a second apart.
type written []types.HistoryEvent

func (h *written) add(e types.HistoryEvent) {
	e.Id = int64(len(*h) + 1)
	e.Timestamp = aws.Time(began.Add(time.Duration(e.Id) * time.Second))
	*h = append(*h, e)
}

func (h *written) enter(kind, name, input string) {
	h.add(types.HistoryEvent{Type: types.HistoryEventType(kind + "StateEntered"),
		StateEnteredEventDetails: &types.StateEnteredEventDetails{Name: &name, Input: &input}})
}

func (h *written) exit(kind, name, output string) {
	h.add(types.HistoryEvent{Type: types.HistoryEventType(kind + "StateExited"),
		StateExitedEventDetails: &types.StateExitedEventDetails{Name: &name, Output: &output}})
}

func (h *written) plain(types_ ...types.HistoryEventType) {
	for _, x := range types_ {
		h.add(types.HistoryEvent{Type: x})
	}
}

func (h *written) fail(kind types.HistoryEventType, name, cause string) {
	switch kind {
	case types.HistoryEventTypeLambdaFunctionFailed:
		h.add(types.HistoryEvent{Type: kind, LambdaFunctionFailedEventDetails: &types.LambdaFunctionFailedEventDetails{Error: &name, Cause: &cause}})
	case types.HistoryEventTypeLambdaFunctionScheduleFailed:
		h.add(types.HistoryEvent{Type: kind, LambdaFunctionScheduleFailedEventDetails: &types.LambdaFunctionScheduleFailedEventDetails{Error: &name, Cause: &cause}})
	}
}

// TestTranslate covers what moto does not produce.
func TestTranslate(t *testing.T) {
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		build func(*written)
		want  []string
		res   walk.Result
	}{
		{"a task times out, cannot be scheduled, then throws what nothing catches", func(h *written) {
			h.plain(types.HistoryEventTypeExecutionStarted)
			h.enter("Task", "Admit", `{}`)
			h.plain(types.HistoryEventTypeLambdaFunctionScheduled, types.HistoryEventTypeLambdaFunctionStarted, types.HistoryEventTypeLambdaFunctionTimedOut)
			h.plain(types.HistoryEventTypeLambdaFunctionScheduled)
			h.fail(types.HistoryEventTypeLambdaFunctionScheduleFailed, "Lambda.TooManyRequestsException", "rate")
			h.plain(types.HistoryEventTypeLambdaFunctionScheduled)
			h.fail(types.HistoryEventTypeLambdaFunctionFailed, "Internal", `{"errorMessage":"a defect","errorType":"Internal"}`)
			h.add(types.HistoryEvent{Type: types.HistoryEventTypeExecutionFailed,
				ExecutionFailedEventDetails: &types.ExecutionFailedEventDetails{Error: aws.String("Internal"), Cause: aws.String(`{"errorMessage":"a defect","errorType":"Internal"}`)}})
		}, []string{"Entered Admit   0", "Retried Admit  States.Timeout 1", "Retried Admit  Lambda.TooManyRequestsException 2", "Ended Admit  Internal 0"},
			walk.Result{Error: "Internal", Cause: "a defect"}},
		{"the whole execution times out", func(h *written) {
			h.enter("Wait", "HoldDown", `{"admit":{"holdUntil":"2026-11-20T02:06:12Z"}}`)
			h.plain(types.HistoryEventTypeExecutionTimedOut)
		}, []string{"Entered HoldDown   0", "Ended HoldDown  States.Timeout 0"}, walk.Result{Error: "States.Timeout"}},
		{"the execution is stopped without a reason", func(h *written) {
			h.enter("Task", "Admit", `{}`)
			h.plain(types.HistoryEventTypeTaskStateAborted, types.HistoryEventTypeExecutionAborted)
		}, []string{"Entered Admit   0", "Ended Admit  Aborted 0"}, walk.Result{Error: "Aborted"}},
		{"a Fail state is no end when the execution was stopped in it", func(h *written) {
			h.enter("Fail", "Dirty", `{}`)
			h.add(types.HistoryEvent{Type: types.HistoryEventTypeExecutionAborted, ExecutionAbortedEventDetails: &types.ExecutionAbortedEventDetails{Error: aws.String("RunAborted")}})
		}, []string{"Entered Dirty   0", "Ended Dirty  RunAborted 0"}, walk.Result{Error: "RunAborted"}},
		{"a wait, and a state that this graph does not have", func(h *written) {
			h.enter("Wait", "HoldDown", `{"admit":{"holdUntil":"2026-11-20T02:06:12Z"}}`)
			h.exit("Wait", "HoldDown", `{}`)
			h.enter("Choice", "FromTheFuture", `{}`)
			h.exit("Choice", "FromTheFuture", `{}`)
			h.enter("Succeed", "Evaluated", `{}`)
			h.exit("Succeed", "Evaluated", `{}`)
			h.plain(types.HistoryEventTypeExecutionSucceeded)
		}, []string{"Entered HoldDown   0", "Exited HoldDown FromTheFuture waited until 2026-11-20T02:06:12Z 0", "Entered FromTheFuture   0",
			"Exited FromTheFuture Evaluated  0", "Entered Evaluated   0", "Ended Evaluated   0"}, walk.Result{Succeeded: true, Terminal: "Evaluated"}},
		{"stopped in a task and redriven: the task is scheduled again", func(h *written) {
			h.enter("Task", "Admit", `{}`)
			h.plain(types.HistoryEventTypeLambdaFunctionScheduled, types.HistoryEventTypeTaskStateAborted, types.HistoryEventTypeExecutionAborted)
			h.plain(types.HistoryEventTypeExecutionRedriven, types.HistoryEventTypeLambdaFunctionScheduled, types.HistoryEventTypeLambdaFunctionSucceeded)
			h.exit("Task", "Admit", `{}`)
			h.enter("Choice", "AdmitPhase", `{}`)
			h.plain(types.HistoryEventTypeExecutionTimedOut)
		}, []string{"Entered Admit   0", "Ended Admit  Aborted 0", "Entered Admit   0", "Exited Admit AdmitPhase  0", "Entered AdmitPhase   0", "Ended AdmitPhase  States.Timeout 0"},
			walk.Result{Error: "States.Timeout"}},
		{"redriven, and the state is entered again", func(h *written) {
			h.enter("Fail", "ReportFailed", `{}`)
			h.add(types.HistoryEvent{Type: types.HistoryEventTypeExecutionFailed, ExecutionFailedEventDetails: &types.ExecutionFailedEventDetails{Error: aws.String("ReportFailed")}})
			h.plain(types.HistoryEventTypeExecutionRedriven)
			h.enter("Fail", "ReportFailed", `{}`)
			h.add(types.HistoryEvent{Type: types.HistoryEventTypeExecutionFailed, ExecutionFailedEventDetails: &types.ExecutionFailedEventDetails{Error: aws.String("ReportFailed")}})
		}, []string{"Entered ReportFailed   0", "Ended ReportFailed  ReportFailed 0", "Entered ReportFailed   0", "Ended ReportFailed  ReportFailed 0"},
			walk.Result{Terminal: "ReportFailed", Error: "ReportFailed"}},
		{"stopped between two states and redriven", func(h *written) {
			h.enter("Task", "Admit", `{}`)
			h.exit("Task", "Admit", `{}`)
			h.plain(types.HistoryEventTypeExecutionAborted, types.HistoryEventTypeExecutionRedriven)
			h.enter("Succeed", "Skipped", `{}`)
			h.plain(types.HistoryEventTypeExecutionSucceeded)
		}, []string{"Entered Admit   0", "Ended Admit  Aborted 0", "Entered Skipped   0", "Ended Skipped   0"}, walk.Result{Succeeded: true, Terminal: "Skipped"}},
		{"a choice whose deployed rules differ has no reason", func(h *written) {
			h.enter("Choice", "ByMode", `{"mode":"drill"}`)
			h.exit("Choice", "ByMode", `{"mode":"drill"}`)
			h.enter("Succeed", "Evaluated", `not JSON`)
			h.plain(types.HistoryEventTypeExecutionSucceeded)
		}, []string{"Entered ByMode   0", "Exited ByMode Evaluated  0", "Entered Evaluated   0", "Ended Evaluated   0"}, walk.Result{Succeeded: true, Terminal: "Evaluated"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h written
			c.build(&h)
			var events []walk.Event
			tr := NewTranslator(m, func(e walk.Event) { events = append(events, e) })
			for _, e := range h {
				tr.Add(e)
			}
			if d := cmp.Diff(c.want, told(events)); d != "" {
				t.Error(d)
			}
			tr.res.Path, tr.res.Output = nil, nil
			if d := cmp.Diff(c.res, tr.res); d != "" {
				t.Error(d)
			}
			if !tr.ended {
				t.Error("the end was not seen")
			}
		})
	}
}
