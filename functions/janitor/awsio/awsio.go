// Package awsio takes the janitor's requests in AWS: it reads from Step Functions where an execution died, has the janitor
// finish the run, and keeps in S3 how far it came, so that a second delivery of a request finishes nothing twice and an
// invocation that is cut short is continued by the next.
//
// A person may redrive a dead execution at any time for 14 days: it goes on in the state that it died in, under the same name and ARN,
// and its history is appended to (https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html). So an execution can die
// more than once, and each death, told by its stop date, is finished on its own: the mark of another death counts for nothing. Before each
// state of its walk the janitor looks whether the execution is still dead of the same death, and leaves the run to a redrive otherwise.
//
// One step remains in which both can work: the one that the janitor has begun, a minute at most, and what Step Functions is late with
// (DescribeExecution is eventually consistent, https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html).
// The lease does not part them, because both are the same run. It does no harm: the steps that the janitor has are those with which the run
// itself would end, each is idempotent and works from the journal, in which every change of the run stands before it is made. What is
// undone under the run's feet fails its gate, and the run undoes the rest; when it is the lease that was released, the run's next change
// is refused, and it ends without one, or Dirty with the names of what is left.
//
// What a redrive does in this graph: a state that the execution was stopped or timed out in is entered again. A Fail state fails
// again, and so does whatever ended by one, ReportFailed too: that run's report the janitor writes.
package awsio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	// Died is when the execution stopped: of which of its deaths the mark is.
	Died time.Time `json:"died,omitzero"`
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
	// Ignored: the execution is not dead, or not any more (somebody redrove it), or succeeded.
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
	if name := strings.TrimPrefix(req.ExecutionARN, own); name != req.RunID {
		// It was admit that it died in, and the run of that ID is another execution's.
		return Result{Action: Ignored, RunID: req.RunID,
			Reason: fmt.Sprintf("the execution's name is %q, expected the run's ID: it was not admitted", name)}, nil
	}
	died, why, err := h.dead(ctx, req)
	if err != nil || why != "" {
		return Result{Action: Ignored, RunID: req.RunID, Reason: why}, err
	}
	var mark Mark
	if err := h.Marks.Load(ctx, req.RunID, &mark); err != nil {
		return Result{}, err
	}
	w := &work{Handler: h, request: req, died: died.at}
	var res walk.Result
	switch same := mark.Died.Equal(died.at); {
	case same && mark.End != nil:
		out := *mark.End
		out.Action = AlreadyFinished
		return out, nil
	case same && mark.Next != "":
		// Another invocation was cut short. It had waited until the functions were quiet, and its own steps ended with it.
		res, err = w.resume(ctx, mark.Next, mark.State)
	default:
		res, err = w.begin(ctx, died)
	}
	return w.ended(ctx, res, err)
}

// death is how an execution ended that did not end by its graph, or only by ReportFailed.
type death struct {
	// at is zero when Step Functions does not say it.
	at    time.Time
	input string
}

// dead tells when an execution died; why says that it did not, and there is nothing to finish.
func (h *Handler) dead(ctx context.Context, req events.Janitor) (d death, why string, err error) {
	x, err := h.Executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: aws.String(req.ExecutionARN)})
	if err != nil {
		return d, "", awsfault.Fault("describe "+req.ExecutionARN, err)
	}
	switch x.Status {
	case types.ExecutionStatusFailed, types.ExecutionStatusTimedOut, types.ExecutionStatusAborted:
		return death{aws.ToTime(x.StopDate), aws.ToString(x.Input)}, "", nil
	}
	return d, "the execution is " + string(x.Status), nil
}

// work is one request under way.
type work struct {
	*Handler
	request events.Janitor
	// died is the death that is finished.
	died time.Time
	// walked are the events of the janitor's own walk.
	walked []walk.Event
}

// begin takes the run up where the execution died.
func (w *work) begin(ctx context.Context, d death) (walk.Result, error) {
	next, state, err := history.Newest(ctx, w.Executions, w.request.ExecutionARN)
	if err != nil {
		return walk.Result{}, err
	}
	if next == "" { // it died before its first state
		next, state = chain.Fallback().Start, json.RawMessage(d.input)
	}
	var r run.Run
	if err := json.Unmarshal(state, &r); err != nil || r.ID != w.request.RunID {
		return walk.Result{}, fault.New(fault.InputInvalid, "read the state of "+w.request.ExecutionARN,
			errors.Join(err, errors.New("it is not the state of run "+w.request.RunID)))
	}
	j := &janitor.Handler{Resume: w.resume, Sleep: w.Sleep, Quiesce: janitor.LongestFunction}
	if !d.at.IsZero() {
		j.Quiesce = min(max(janitor.LongestFunction-w.Now().Sub(d.at), 0), janitor.LongestFunction)
	}
	return j.Finish(ctx, janitor.Dead{Next: next, State: state})
}

// redriven ends the janitor's walk: the run goes on without it.
type redriven struct{ why string }

func (e *redriven) Error() string { return "the run was redriven: " + e.why }

// still returns a redriven error unless the execution is still dead of the same death.
func (w *work) still(ctx context.Context) error {
	now, why, err := w.dead(ctx, w.request)
	switch {
	case err != nil:
		return err
	case why == "" && !now.at.Equal(w.died):
		why = "the execution died again at " + now.at.UTC().Format(time.RFC3339Nano)
	}
	if why != "" {
		return &redriven{why}
	}
	return nil
}

// resume walks the graph from a state on. Before each state it looks whether somebody redrove the execution, and marks the state; the
// first time is after the functions were waited for.
func (w *work) resume(ctx context.Context, state string, input json.RawMessage) (walk.Result, error) {
	return walk.Resume(ctx, walk.Options{
		Graph: chain.Fallback(), Handlers: w.Steps(w.visits), Now: w.Now, Sleep: w.Sleep,
		OnEvent: func(e walk.Event) { w.walked = append(w.walked, e) },
		Checkpoint: func(next string, state json.RawMessage) error {
			if next == "" {
				return nil // ended writes the last mark
			}
			if err := w.still(ctx); err != nil {
				return err
			}
			return w.mark(ctx, Mark{Next: next, State: state})
		},
	}, state, input)
}

func (w *work) mark(ctx context.Context, m Mark) error {
	m.At, m.Died = w.Now().UTC(), w.died
	return w.Marks.Save(ctx, w.request.RunID, m)
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

// ended marks the run as finished, unless it was redriven.
func (w *work) ended(ctx context.Context, res walk.Result, err error) (Result, error) {
	var again *redriven
	if errors.As(err, &again) {
		return Result{Action: Ignored, RunID: w.request.RunID, Reason: again.Error()}, nil
	}
	if err != nil {
		return Result{}, err
	}
	var r run.Run
	if err := json.Unmarshal(res.Output, &r); err != nil {
		return Result{}, fault.New(fault.Internal, "read the end of run "+w.request.RunID, err)
	}
	out := Result{Action: Finished, RunID: w.request.RunID, Outcome: r.Ended(res.Terminal), Terminal: res.Terminal, Reason: res.Cause}
	return out, w.mark(ctx, Mark{End: &out})
}
