package history

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Reader reads the history of an execution; *sfn.Client is one.
type Reader interface {
	GetExecutionHistory(context.Context, *sfn.GetExecutionHistoryInput, ...func(*sfn.Options)) (*sfn.GetExecutionHistoryOutput, error)
}

// ExecutionARN is the ARN of a run's execution. Form:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html#awsstepfunctions-resources-for-iam-policies.
func ExecutionARN(machineARN, runID string) (string, error) {
	part := strings.Split(machineARN, ":")
	if len(part) < 7 || part[2] != "states" || part[5] != "stateMachine" {
		return "", fault.Newf(fault.InputInvalid, "find run "+runID, "%q: expected the ARN of a state machine", machineARN)
	}
	part[5] = "execution"
	return strings.Join(append(part[:7], runID), ":"), nil
}

const (
	// fullPage is the most events of a page
	// (https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetExecutionHistory.html).
	fullPage = 1000
	// tailPage is enough for the last state and all its retries.
	tailPage = 50
)

// Events reads the whole history so far as a walk's events; m may be nil.
func Events(ctx context.Context, c Reader, executionARN string, m *graph.Machine) ([]walk.Event, error) {
	var out []walk.Event
	t := NewTranslator(m, func(e walk.Event) { out = append(out, e) })
	err := pages(ctx, c, &sfn.GetExecutionHistoryInput{ExecutionArn: aws.String(executionARN), MaxResults: fullPage, IncludeExecutionData: aws.Bool(true)},
		func(es []types.HistoryEvent) bool {
			for _, e := range es {
				t.Add(e)
			}
			return true
		})
	return out, err
}

// Newest reads the history backwards for the state that the execution was last in and the run's state there: the state's
// input, or its output when it had been left. Both are empty when no state had begun.
func Newest(ctx context.Context, c Reader, executionARN string) (state string, run json.RawMessage, err error) {
	err = pages(ctx, c, &sfn.GetExecutionHistoryInput{ExecutionArn: aws.String(executionARN), MaxResults: tailPage, ReverseOrder: true,
		IncludeExecutionData: aws.Bool(true)}, func(es []types.HistoryEvent) bool {
		var last int64
		for _, e := range es { // the greatest ID counts, whatever the order
			if e.Id < last {
				continue
			}
			switch {
			case e.StateEnteredEventDetails != nil && raw(e.StateEnteredEventDetails.Input) != nil:
				last, state, run = e.Id, aws.ToString(e.StateEnteredEventDetails.Name), raw(e.StateEnteredEventDetails.Input)
			case e.StateExitedEventDetails != nil && raw(e.StateExitedEventDetails.Output) != nil:
				last, state, run = e.Id, aws.ToString(e.StateExitedEventDetails.Name), raw(e.StateExitedEventDetails.Output)
			}
		}
		return state == ""
	})
	return state, run, err
}

// pages reads page after page while more says so.
func pages(ctx context.Context, c Reader, in *sfn.GetExecutionHistoryInput, more func([]types.HistoryEvent) bool) error {
	for {
		out, err := c.GetExecutionHistory(ctx, in)
		if err != nil {
			return awsfault.Fault("read the history of "+aws.ToString(in.ExecutionArn), err)
		}
		if !more(out.Events) || out.NextToken == nil {
			return nil
		}
		in.NextToken = out.NextToken
	}
}
