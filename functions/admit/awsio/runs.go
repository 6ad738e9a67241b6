package awsio

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/functions/admit"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
)

// Executions lists and describes executions.
type Executions interface {
	ListExecutions(context.Context, *sfn.ListExecutionsInput, ...func(*sfn.Options)) (*sfn.ListExecutionsOutput, error)
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

// Runs finds earlier runs among the executions of the fallback machine.
type Runs struct {
	Executions Executions
	MachineARN string
}

// maxPages bounds one look into the history; 1,000 executions a page
// (https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html).
const maxPages = 10

// LastChange looks through the executions, which come newest first, back to those that must have ended before since.
func (s Runs) LastChange(ctx context.Context, planName, runID string, since time.Time) (*admit.Change, error) {
	op := "list executions"
	self, err := runid.Parse(runID)
	if err != nil {
		return nil, fault.New(fault.InputInvalid, op, err)
	}
	began := since.Add(-limits.MachineTimeout)
	var last *admit.Change
	in := &sfn.ListExecutionsInput{StateMachineArn: aws.String(s.MachineARN), MaxResults: 1000}
	for range maxPages {
		out, err := s.Executions.ListExecutions(ctx, in)
		if err != nil {
			return nil, awsfault.Fault(op, err)
		}
		for _, e := range out.Executions {
			if e.StartDate != nil && e.StartDate.Before(began) {
				return last, nil
			}
			other, ok := earlier(e, planName, self, runID)
			if !ok {
				continue
			}
			c, err := s.change(ctx, e)
			if err != nil {
				return nil, err
			}
			switch {
			case c == nil:
			case c.EndedAt.IsZero() && other:
				return c, nil
			case !c.EndedAt.IsZero() && (last == nil || c.EndedAt.After(last.EndedAt)):
				last = c
			}
		}
		if out.NextToken == nil {
			return last, nil
		}
		in.NextToken = out.NextToken
	}
	return nil, fault.Newf(fault.InputInvalid, op, "more than %d executions since %s: expected fewer, the plan's cool-down reaches too far back",
		maxPages*1000, began.UTC().Format(time.RFC3339))
}

// earlier tells whether an execution is another run of the plan that may change the workload, and whether it comes before
// the run itself: by the time in the ID, then by the ID, so that of two runs exactly one comes first.
func earlier(e types.ExecutionListItem, planName string, self runid.Parts, runID string) (before, ok bool) {
	name := aws.ToString(e.Name)
	p, err := runid.Parse(name)
	if err != nil || p.Plan != planName || name == runID {
		return false, false
	}
	if p.Mode == run.Evaluate || p.Mode == run.Drill {
		return false, false
	}
	return p.At.Before(self.At) || p.At.Equal(self.At) && name < runID, true
}

// change tells what an execution did, or nil when it certainly changed nothing.
func (s Runs) change(ctx context.Context, e types.ExecutionListItem) (*admit.Change, error) {
	c := &admit.Change{RunID: aws.ToString(e.Name)}
	switch e.Status {
	case types.ExecutionStatusRunning, types.ExecutionStatusPendingRedrive:
		return c, nil
	case types.ExecutionStatusSucceeded, types.ExecutionStatusFailed:
		d, err := s.Executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: e.ExecutionArn})
		if err != nil {
			return nil, awsfault.Fault("describe run "+c.RunID, err)
		}
		if changedNothing(d) {
			return nil, nil
		}
	}
	if e.StopDate == nil { // ended, and nobody says when: as if just now
		return nil, fault.Newf(fault.Unavailable, "describe run "+c.RunID, "it is %s without a stop date", e.Status)
	}
	c.EndedAt = *e.StopDate
	return c, nil
}

// changedNothing is true only for what is known: the run was skipped, refused or aborted. A dead or unreadable one counts
// as a change.
func changedNothing(d *sfn.DescribeExecutionOutput) bool {
	if d.Status == types.ExecutionStatusFailed {
		e := aws.ToString(d.Error)
		return e == "Refused" || e == string(run.Aborted)
	}
	var r run.Run
	if err := json.Unmarshal([]byte(aws.ToString(d.Output)), &r); err != nil || r.Admit == nil {
		return false
	}
	return r.Admit.Phase == run.NotAdmitted
}
