package history

import (
	"context"

	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Visits turns events into the visits of a report: one a state, an Await's rounds together. A state that was entered and not
// left (the process died in it, or it is the one that asks) has no reason.
func Visits(es []walk.Event) []report.Visit {
	var out []report.Visit
	open := false
	for _, e := range es {
		last := len(out) - 1
		if last >= 0 && e.Type == graph.Choice && e.State == out[last].State+"Phase" {
			// It only asks whether the state before it is done. Where it leads is where that state leads.
			if e.Kind == walk.Exited {
				out[last].Next = e.Next
				open = e.Next == out[last].State
			}
			continue
		}
		switch e.Kind {
		case walk.Entered:
			if open && out[last].State == e.State {
				out[last].Rounds++
				continue
			}
			out = append(out, report.Visit{State: e.State, Function: e.Function, Op: e.Op, StartedAt: e.At, Rounds: 1})
			open = true
		case walk.Retried:
			if open {
				out[last].Retries++
			}
		case walk.Exited, walk.Caught, walk.Ended:
			if !open {
				continue
			}
			v := &out[last]
			v.Duration, v.Reason, v.Cause, v.Next = e.At.Sub(v.StartedAt), e.Reason, e.Cause, e.Next
			v.Failed = e.Kind == walk.Caught || (v.Function != "" && report.IsFailure(e.Reason))
			open = false
		}
	}
	return out
}

// OfRun returns a reader of what a run's execution visited so far. The execution has the run's ID as its name, which admit
// sees to. One that is not found is a fault, because a report without its steps would pass for whole.
func OfRun(c Reader, machineARN string, m *graph.Machine) func(context.Context, run.Run) ([]report.Visit, error) {
	return func(ctx context.Context, r run.Run) ([]report.Visit, error) {
		arn, err := ExecutionARN(machineARN, r.ID)
		if err != nil {
			return nil, err
		}
		es, err := Events(ctx, c, arn, m)
		return Visits(es), err
	}
}
