package awsrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
	"fallbackchain.io/fallback/statemachine/history"
)

// Start starts the execution of a run, named by the run's ID, and returns its ARN. A run that was started already is no
// error: its ARN is returned. The input is checked here as admit checks it, so that a mistake is a message and no execution.
func Start(ctx context.Context, c Starter, machineARN string, r run.Run) (executionARN string, err error) {
	if r.Demotions == nil {
		r.Demotions = map[string]run.Demotion{}
	}
	if r.Faults == nil {
		r.Faults = map[string]run.CaughtFault{}
	}
	if bad := events.CheckInput(r); len(bad) > 0 {
		return "", fault.New(fault.InputInvalid, "start run "+r.ID, bad)
	}
	if r.DryRun {
		return "", fault.Newf(fault.InputInvalid, "start run "+r.ID, "dryRun is true: expected false, a dry run is only made in process")
	}
	input, err := json.Marshal(r)
	if err != nil {
		return "", fault.New(fault.Internal, "encode run "+r.ID, err)
	}
	out, err := c.StartExecution(ctx, &sfn.StartExecutionInput{
		StateMachineArn: aws.String(machineARN), Name: aws.String(r.ID), Input: aws.String(string(input)),
	})
	if already := (*types.ExecutionAlreadyExists)(nil); errors.As(err, &already) {
		return ExecutionARN(machineARN, r.ID)
	}
	if err != nil {
		return "", awsfault.Fault("start run "+r.ID+" on "+machineARN, err)
	}
	return aws.ToString(out.ExecutionArn), nil
}

// ExecutionARN is the ARN of a run's execution.
func ExecutionARN(machineARN, runID string) (string, error) {
	return history.ExecutionARN(machineARN, runID)
}

// Abort stops a run's execution. No catcher of the graph runs then: the janitor, started by the execution's status
// change, undoes what was done and releases the lease.
func Abort(ctx context.Context, c Stopper, executionARN, requester string) error {
	_, err := c.StopExecution(ctx, &sfn.StopExecutionInput{
		ExecutionArn: aws.String(executionARN), Error: aws.String(string(fault.RunAborted)), Cause: aws.String("asked for by " + requester),
	})
	if err != nil {
		return awsfault.Fault("stop "+executionARN, err)
	}
	return nil
}

// Summary is one run in a list.
type Summary struct {
	ID           string    `json:"id"`
	Plan         string    `json:"plan"`
	Mode         run.Mode  `json:"mode"`
	ExecutionARN string    `json:"executionArn"`
	Status       string    `json:"status"`
	StartedAt    time.Time `json:"startedAt"`
	// EndedAt is zero while the run goes on.
	EndedAt time.Time `json:"endedAt,omitzero"`
}

// List returns the newest runs of the machine, at most limit, newest first. Executions whose name is no run ID are left out.
func List(ctx context.Context, c Lister, machineARN string, limit int) ([]Summary, error) {
	var out []Summary
	in := &sfn.ListExecutionsInput{StateMachineArn: aws.String(machineARN), MaxResults: 100}
	for len(out) < limit {
		page, err := c.ListExecutions(ctx, in)
		if err != nil {
			return nil, awsfault.Fault("list the runs of "+machineARN, err)
		}
		for _, e := range page.Executions {
			if s, ok := summary(aws.ToString(e.Name), e.ExecutionArn, e.Status, e.StartDate, e.StopDate); ok && len(out) < limit {
				out = append(out, s)
			}
		}
		if page.NextToken == nil {
			break
		}
		in.NextToken = page.NextToken
	}
	return out, nil
}

func summary(name string, arn *string, status types.ExecutionStatus, start, stop *time.Time) (Summary, bool) {
	p, err := runid.Parse(name)
	return Summary{ID: name, Plan: p.Plan, Mode: p.Mode, ExecutionARN: aws.ToString(arn), Status: string(status),
		StartedAt: aws.ToTime(start), EndedAt: aws.ToTime(stop)}, err == nil
}

// Detail is one run.
type Detail struct {
	Summary
	// Run is the run's newest state that Step Functions knows.
	Run run.Run `json:"run"`
	// Error and Cause are set when the execution did not succeed.
	Error string `json:"error,omitempty"`
	Cause string `json:"cause,omitempty"`
}

// Describe reads one run. An execution that succeeded has its output; of any other the newest state's input is the run.
func Describe(ctx context.Context, c Reader, executionARN string) (Detail, error) {
	op := "describe " + executionARN
	d, err := c.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: aws.String(executionARN)})
	if err != nil {
		return Detail{}, awsfault.Fault(op, err)
	}
	out := Detail{Error: aws.ToString(d.Error), Cause: aws.ToString(d.Cause)}
	out.Summary, _ = summary(aws.ToString(d.Name), d.ExecutionArn, d.Status, d.StartDate, d.StopDate)
	text := []byte(aws.ToString(d.Output))
	if len(text) == 0 {
		if _, text, err = history.Newest(ctx, c, executionARN); err != nil {
			return Detail{}, err
		}
	}
	if len(text) == 0 {
		text = []byte(aws.ToString(d.Input))
	}
	if err := json.Unmarshal(text, &out.Run); err != nil {
		return Detail{}, fault.New(fault.InputInvalid, op, fmt.Errorf("the execution's state is no run: %w", err))
	}
	return out, nil
}
