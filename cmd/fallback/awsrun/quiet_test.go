package awsrun

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/statemachine/walk"
)

// entered is the history of an execution that has begun its first state.
func entered() []types.HistoryEvent {
	return []types.HistoryEvent{{Id: 1, Timestamp: aws.Time(began), Type: types.HistoryEventTypeTaskStateEntered,
		StateEnteredEventDetails: &types.StateEnteredEventDetails{Name: aws.String("Admit"), Input: aws.String(`{}`)}}}
}

// reader is a history that no event ends.
type reader struct {
	events   []types.HistoryEvent
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
		r.events = entered()
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
	r.events = entered()
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
