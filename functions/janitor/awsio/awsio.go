// Package awsio takes the janitor's requests in AWS: it reads from Step Functions where an execution died, has the janitor
// finish the run, and keeps in S3 how far it came, so that a second delivery of a request finishes nothing twice and an
// invocation that is cut short is continued by the next.
package awsio

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/functions/janitor"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/history"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Executions describes executions and reads their histories; *sfn.Client is one.
type Executions interface {
	history.Reader
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

// Marks keeps one document a run; Load of one that was never saved leaves v alone.
type Marks interface {
	Load(ctx context.Context, runID string, v any) error
	Save(ctx context.Context, runID string, v any) error
}

// Mark is how far the janitor came with a run.
type Mark struct {
	// Next is the state that comes next, State the run as that state gets it.
	Next  string          `json:"next,omitempty"`
	State json.RawMessage `json:"state,omitempty"`
	At    time.Time       `json:"at"`
	// End is set when the run is finished.
	End *Result `json:"end,omitempty"`
}

// Action is what the janitor did.
type Action string

const (
	// Finished: the run was walked to its end.
	Finished Action = "Finished"
	// AlreadyFinished: an earlier delivery of the request did it.
	AlreadyFinished Action = "AlreadyFinished"
	// Ignored: the execution is not dead (somebody redrove it), or succeeded.
	Ignored Action = "Ignored"
)

// Result is what the janitor did, for the log.
type Result struct {
	Action  Action      `json:"action"`
	RunID   string      `json:"runId"`
	Outcome run.Outcome `json:"outcome,omitempty"`
	// Terminal is the state that ended the run.
	Terminal string `json:"terminal,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// VisitsFunc returns the states that a run went through.
type VisitsFunc = func(context.Context, run.Run) ([]report.Visit, error)

// Handler is the function. All fields are wanted.
type Handler struct {
	Executions Executions
	Marks      Marks
	// MachineARN is the fallback state machine.
	MachineARN string
	// Steps makes the handlers of the states that a dead run can still go through; visits is for its report.
	Steps func(visits VisitsFunc) map[string]walk.Handler
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// HandleRaw takes an events.Janitor.
func (h *Handler) HandleRaw(ctx context.Context, payload json.RawMessage) (Result, error) {
	var req events.Janitor
	if err := json.Unmarshal(payload, &req); err != nil {
		return Result{}, fault.New(fault.InputInvalid, "read the janitor request", err)
	}
	own, err := history.ExecutionARN(h.MachineARN, "")
	if err != nil {
		return Result{}, err
	}
	if !strings.HasPrefix(req.ExecutionARN, own) || req.RunID == "" {
		return Result{}, fault.Newf(fault.InputInvalid, "read the janitor request",
			"executionArn is %q, runId %q: expected an execution of %s and its run", req.ExecutionARN, req.RunID, h.MachineARN)
	}
	var mark Mark
	if err := h.Marks.Load(ctx, req.RunID, &mark); err != nil {
		return Result{}, err
	}
	w := &work{Handler: h, request: req}
	switch {
	case mark.End != nil:
		out := *mark.End
		out.Action = AlreadyFinished
		return out, nil
	case mark.Next != "":
		// Another invocation was cut short. It had waited until the functions were quiet, and its own steps ended with it.
		res, err := w.resume(ctx, mark.Next, mark.State)
		return w.ended(ctx, res, err)
	}
	dead, stopped, why, err := h.dead(ctx, req)
	if err != nil || why != "" {
		return Result{Action: Ignored, RunID: req.RunID, Reason: why}, err
	}
	j := &janitor.Handler{Resume: w.resume, Sleep: h.Sleep, Quiesce: janitor.LongestFunction}
	if !stopped.IsZero() {
		j.Quiesce = min(max(janitor.LongestFunction-h.Now().Sub(stopped), 0), janitor.LongestFunction)
	}
	res, err := j.Finish(ctx, dead)
	return w.ended(ctx, res, err)
}

// dead reads where an execution stopped, and when; why says that there is nothing to finish.
func (h *Handler) dead(ctx context.Context, req events.Janitor) (d janitor.Dead, stopped time.Time, why string, err error) {
	op := "describe " + req.ExecutionARN
	x, err := h.Executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: aws.String(req.ExecutionARN)})
	if err != nil {
		return d, stopped, "", awsfault.Fault(op, err)
	}
	switch x.Status {
	case types.ExecutionStatusFailed, types.ExecutionStatusTimedOut, types.ExecutionStatusAborted:
	default:
		return d, stopped, "the execution is " + string(x.Status), nil
	}
	if d.Next, d.State, err = history.Newest(ctx, h.Executions, req.ExecutionARN); err != nil {
		return d, stopped, "", err
	}
	if d.Next == "" { // it died before its first state
		d.Next, d.State = chain.Fallback().Start, json.RawMessage(aws.ToString(x.Input))
	}
	var r run.Run
	if err := json.Unmarshal(d.State, &r); err != nil || r.ID != req.RunID {
		return d, stopped, "", fault.New(fault.InputInvalid, op, errors.Join(err, errors.New("its state is not run "+req.RunID)))
	}
	return d, aws.ToTime(x.StopDate), "", nil
}

// work is one request under way.
type work struct {
	*Handler
	request events.Janitor
	// walked are the events of the janitor's own walk.
	walked []walk.Event
}

// resume walks the graph from a state on and marks each state before it begins.
func (w *work) resume(ctx context.Context, state string, input json.RawMessage) (walk.Result, error) {
	return walk.Resume(ctx, walk.Options{
		Graph: chain.Fallback(), Handlers: w.Steps(w.visits), Now: w.Now, Sleep: w.Sleep,
		OnEvent: func(e walk.Event) { w.walked = append(w.walked, e) },
		Checkpoint: func(next string, state json.RawMessage) error {
			if next == "" {
				return nil // ended writes the last mark
			}
			return w.Marks.Save(ctx, w.request.RunID, Mark{Next: next, State: state, At: w.Now().UTC()})
		},
	}, state, input)
}

// visits are the dead execution's, and then the janitor's own.
func (w *work) visits(ctx context.Context, _ run.Run) ([]report.Visit, error) {
	m, err := chain.Fallback().Expand()
	if err != nil {
		return nil, err
	}
	es, err := history.Events(ctx, w.Executions, w.request.ExecutionARN, m)
	if err != nil {
		return nil, err
	}
	return append(history.Visits(es), history.Visits(w.walked)...), nil
}

// ended marks the run as finished.
func (w *work) ended(ctx context.Context, res walk.Result, err error) (Result, error) {
	if err != nil {
		return Result{}, err
	}
	var r run.Run
	if err := json.Unmarshal(res.Output, &r); err != nil {
		return Result{}, fault.New(fault.Internal, "read the end of run "+w.request.RunID, err)
	}
	out := Result{Action: Finished, RunID: w.request.RunID, Outcome: r.Ended(res.Terminal), Terminal: res.Terminal, Reason: res.Cause}
	return out, w.Marks.Save(ctx, w.request.RunID, Mark{At: w.Now().UTC(), End: &out})
}
