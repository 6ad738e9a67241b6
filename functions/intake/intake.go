// Package intake stands in front of the state machine: it takes any event, and starts the run it asks for, passes an
// execution that died to the janitor, or says why it does nothing. It looks at nothing but the event; whether the run may
// go on is decided by admit, the machine's first state, which manual input enters directly.
package intake

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/shared/run"
)

// Starter starts executions.
type Starter interface {
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
}

// Janitor finishes a run whose execution died. Request returns when the janitor has taken the request, not when it is done.
type Janitor interface {
	Request(context.Context, events.Janitor) error
}

// Parser turns a payload into an event.
type Parser interface {
	Parse(payload []byte) (events.Event, error)
}

// Action is what intake did.
type Action string

const (
	// Started: a new execution runs.
	Started Action = "Started"
	// AlreadyStarted: the event was delivered before; its execution runs or has ended.
	AlreadyStarted Action = "AlreadyStarted"
	// Passed: the janitor has the request.
	Passed Action = "PassedToJanitor"
	// Ignored: the event starts nothing.
	Ignored Action = "Ignored"
)

// Result is what intake did, for the log and for whoever invoked it.
type Result struct {
	Action       Action `json:"action"`
	RunID        string `json:"runId,omitempty"`
	ExecutionARN string `json:"executionArn,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

// Handler is the function. All fields are wanted.
type Handler struct {
	Events     Parser
	Executions Starter
	Janitor    Janitor
	// MachineARN is the fallback state machine, or a version or alias of it.
	MachineARN string
	Now        func() time.Time
}

// Handle takes one event. Errors are faults: InputInvalid names every field that is wrong; Throttled and Unavailable make
// Lambda deliver the event again.
func (h *Handler) Handle(ctx context.Context, payload json.RawMessage) (Result, error) {
	e, err := h.Events.Parse(payload)
	if err != nil {
		return Result{}, fault.New(fault.InputInvalid, "read the event", err)
	}
	switch e := e.(type) {
	case events.Start:
		return h.start(ctx, e.Run)
	case events.Janitor:
		if err := h.Janitor.Request(ctx, e); err != nil {
			return Result{}, awsfault.Fault("pass run "+e.RunID+" to the janitor", err)
		}
		return Result{Action: Passed, RunID: e.RunID, ExecutionARN: e.ExecutionARN, Reason: e.Status}, nil
	case events.NoOp:
		return Result{Action: Ignored, Reason: e.Reason}, nil
	}
	return Result{}, fault.Newf(fault.Internal, "read the event", "an event of type %T", e)
}

func (h *Handler) start(ctx context.Context, r run.Run) (Result, error) {
	if r.StartedAt.IsZero() {
		r.StartedAt = h.Now().UTC()
	}
	if r.DryRun {
		return Result{}, fault.Newf(fault.InputInvalid, "start run "+r.ID, "dryRun is true: expected false, a dry run is only made in process")
	}
	if bad := events.CheckInput(r); len(bad) > 0 {
		return Result{}, fault.New(fault.InputInvalid, "start run "+r.ID, bad)
	}
	input, err := json.Marshal(r)
	if err != nil {
		return Result{}, fault.New(fault.Internal, "encode run "+r.ID, err)
	}
	out, err := h.Executions.StartExecution(ctx, &sfn.StartExecutionInput{
		StateMachineArn: aws.String(h.MachineARN), Name: aws.String(r.ID), Input: aws.String(string(input)),
	})
	// The name belongs to the event, so an execution of this name is this event's, running or ended: the start time in
	// the input differs between two deliveries and makes Step Functions refuse the second.
	if already := (*types.ExecutionAlreadyExists)(nil); errors.As(err, &already) {
		return Result{Action: AlreadyStarted, RunID: r.ID, Reason: "the event was delivered before"}, nil
	}
	if err != nil {
		return Result{}, awsfault.Fault("start execution "+r.ID, err)
	}
	return Result{Action: Started, RunID: r.ID, ExecutionARN: aws.ToString(out.ExecutionArn)}, nil
}
