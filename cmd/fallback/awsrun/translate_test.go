package awsrun

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
)

// history writes an execution's history event by event, a second apart.
type history []types.HistoryEvent

func (h *history) add(e types.HistoryEvent) {
	e.Id = int64(len(*h) + 1)
	e.Timestamp = aws.Time(began.Add(time.Duration(e.Id) * time.Second))
	*h = append(*h, e)
}

func (h *history) enter(kind, name, input string) {
	h.add(types.HistoryEvent{Type: types.HistoryEventType(kind + "StateEntered"),
		StateEnteredEventDetails: &types.StateEnteredEventDetails{Name: &name, Input: &input}})
}

func (h *history) exit(kind, name, output string) {
	h.add(types.HistoryEvent{Type: types.HistoryEventType(kind + "StateExited"),
		StateExitedEventDetails: &types.StateExitedEventDetails{Name: &name, Output: &output}})
}

func (h *history) plain(types_ ...types.HistoryEventType) {
	for _, x := range types_ {
		h.add(types.HistoryEvent{Type: x})
	}
}

func (h *history) fail(kind types.HistoryEventType, name, cause string) {
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
		build func(*history)
		want  []string
		res   walk.Result
	}{
		{"a task times out, cannot be scheduled, then throws what nothing catches", func(h *history) {
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
		{"the whole execution times out", func(h *history) {
			h.enter("Wait", "HoldDown", `{"admit":{"holdUntil":"2026-11-20T02:06:12Z"}}`)
			h.plain(types.HistoryEventTypeExecutionTimedOut)
		}, []string{"Entered HoldDown   0", "Ended HoldDown  States.Timeout 0"}, walk.Result{Error: "States.Timeout"}},
		{"the execution is stopped without a reason", func(h *history) {
			h.enter("Task", "Admit", `{}`)
			h.plain(types.HistoryEventTypeTaskStateAborted, types.HistoryEventTypeExecutionAborted)
		}, []string{"Entered Admit   0", "Ended Admit  Aborted 0"}, walk.Result{Error: "Aborted"}},
		{"a Fail state is no end when the execution was stopped in it", func(h *history) {
			h.enter("Fail", "Dirty", `{}`)
			h.add(types.HistoryEvent{Type: types.HistoryEventTypeExecutionAborted, ExecutionAbortedEventDetails: &types.ExecutionAbortedEventDetails{Error: aws.String("RunAborted")}})
		}, []string{"Entered Dirty   0", "Ended Dirty  RunAborted 0"}, walk.Result{Error: "RunAborted"}},
		{"a wait, and a state that this graph does not have", func(h *history) {
			h.enter("Wait", "HoldDown", `{"admit":{"holdUntil":"2026-11-20T02:06:12Z"}}`)
			h.exit("Wait", "HoldDown", `{}`)
			h.enter("Choice", "FromTheFuture", `{}`)
			h.exit("Choice", "FromTheFuture", `{}`)
			h.enter("Succeed", "Evaluated", `{}`)
			h.exit("Succeed", "Evaluated", `{}`)
			h.plain(types.HistoryEventTypeExecutionSucceeded)
		}, []string{"Entered HoldDown   0", "Exited HoldDown FromTheFuture waited until 2026-11-20T02:06:12Z 0", "Entered FromTheFuture   0",
			"Exited FromTheFuture Evaluated  0", "Entered Evaluated   0", "Ended Evaluated   0"}, walk.Result{Succeeded: true, Terminal: "Evaluated"}},
		{"a choice whose deployed rules differ has no reason", func(h *history) {
			h.enter("Choice", "ByMode", `{"mode":"drill"}`)
			h.exit("Choice", "ByMode", `{"mode":"drill"}`)
			h.enter("Succeed", "Evaluated", `not JSON`)
			h.plain(types.HistoryEventTypeExecutionSucceeded)
		}, []string{"Entered ByMode   0", "Exited ByMode Evaluated  0", "Entered Evaluated   0", "Ended Evaluated   0"}, walk.Result{Succeeded: true, Terminal: "Evaluated"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h history
			c.build(&h)
			var events []walk.Event
			tr := newTranslator(m, func(e walk.Event) { events = append(events, e) })
			for _, e := range h {
				tr.add(e)
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

// reader is a history that no event ends.
type reader struct {
	events   history
	status   types.ExecutionStatus
	describe error
	asked    int
}

func (r *reader) GetExecutionHistory(context.Context, *sfn.GetExecutionHistoryInput, ...func(*sfn.Options)) (*sfn.GetExecutionHistoryOutput, error) {
	return &sfn.GetExecutionHistoryOutput{Events: r.events}, nil
}

func (r *reader) DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	r.asked++
	return &sfn.DescribeExecutionOutput{Status: r.status, StopDate: aws.Time(began), Output: aws.String(`{"id":"x"}`)}, r.describe
}

// TestHistoryWithoutAnEnd: an execution that is over ends following, though its history never says so.
func TestHistoryWithoutAnEnd(t *testing.T) {
	for status, want := range map[types.ExecutionStatus]string{
		types.ExecutionStatusAborted: "ABORTED", types.ExecutionStatusTimedOut: "States.Timeout", types.ExecutionStatusSucceeded: "",
	} {
		r := &reader{status: status}
		r.events.enter("Task", "Admit", `{}`)
		var events []walk.Event
		res, err := Follow(t.Context(), r, "arn:x", Options{OnEvent: func(e walk.Event) { events = append(events, e) }, Wait: func(context.Context, time.Duration) error { return nil }})
		if err != nil || res.Error != want || res.Succeeded != (want == "") || len(events) != 2 || events[1].Kind != walk.Ended || r.asked != 1 {
			t.Errorf("%s: %+v, %v, %v after %d questions; want the error %q", status, res, err, told(events), r.asked, want)
		}
	}
}

// TestStopFollowing: a context that ends stops following, and the message says that the run goes on.
func TestStopFollowing(t *testing.T) {
	r := &reader{status: types.ExecutionStatusRunning}
	r.events.enter("Task", "Admit", `{}`)
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	_, err := Follow(ctx, r, "arn:x", Options{Wait: func(ctx context.Context, d time.Duration) error {
		if d < minWait || d > maxWait {
			t.Errorf("waits %s, want %s to %s", d, minWait, maxWait)
		}
		if looks++; looks == 5 {
			cancel()
		}
		return ctx.Err()
	}})
	if !errors.Is(err, context.Canceled) || r.asked != 4 {
		t.Errorf("%v after %d questions, want context.Canceled after 4", err, r.asked)
	}
}
