// Package janitor finishes a run whose execution died: its process was killed, its machine timed out, or somebody stopped it.
// No catcher of the graph ran then. The janitor takes the run up again at the state of the graph from which it can only end:
// what was changed is undone from the journal (or kept, when the gate had passed), the lease is released, the report written. It has no
// logic of its own beyond where to go on; every step is the graph's.
package janitor

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// LongestFunction is how long a function may go on after its execution was stopped, because stopping an execution stops no
// function: the functions' timeout.
const LongestFunction = 60 * time.Second

// Handler finishes runs.
type Handler struct {
	// Resume executes the graph from a state on, over the same handlers that the run had.
	Resume func(ctx context.Context, state string, input json.RawMessage) (walk.Result, error)
	// Quiesce is waited out before anything is done; 0 where it is known that no function of the run still works (a local run whose
	// process has ended), else LongestFunction.
	Quiesce time.Duration
	// Sleep waits, or returns the context's error.
	Sleep func(context.Context, time.Duration) error
}

// Sleep waits for d, or returns the context's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Dead is a run as it was last seen.
type Dead struct {
	// Next is the state that was to begin, or had begun, when the execution died.
	Next string
	// State is the run as that state got it.
	State json.RawMessage
}

// Finish takes the run up where From says and walks it to its end.
func (h *Handler) Finish(ctx context.Context, d Dead) (walk.Result, error) {
	var r run.Run
	if err := json.Unmarshal(d.State, &r); err != nil {
		return walk.Result{}, fault.New(fault.InputInvalid, "read the state of a dead run", err)
	}
	var doc map[string]any
	if err := json.Unmarshal(d.State, &doc); err != nil {
		return walk.Result{}, fault.New(fault.InputInvalid, "read the state of a dead run", err)
	}
	doc["finishedBy"] = "janitor"
	state, err := json.Marshal(doc)
	if err != nil {
		return walk.Result{}, fault.New(fault.Internal, "encode the state of run "+r.ID, err)
	}
	if h.Quiesce > 0 {
		if err := h.Sleep(ctx, h.Quiesce); err != nil {
			return walk.Result{}, fault.New(fault.Unavailable, fmt.Sprintf("wait until the functions of run %s are quiet", r.ID), err)
		}
	}
	return h.Resume(ctx, From(d.Next, r), state)
}

// States from which a run can only end.
const (
	abortWithoutLease = "OutcomeAbortedNoLease"
	abort             = "OutcomeAborted"
	giveUp            = "GiveUp"
	afterGate         = "AfterGate"
	// A run that could not write its report is done but for it.
	reportFailed = "ReportFailed"
	report       = "Report"
)

// ending are the states that already undo, decide or report. They are idempotent, so the run goes on at the very one.
var ending = map[string]bool{
	"AfterGate": true, "LiftQuarantine": true, "GiveUp": true,
	"Rollback": true, "AwaitRollback": true,
	"TeardownAfterFailure": true, "AwaitTeardownAfterFailure": true, "TeardownAfterPass": true, "AwaitTeardownAfterPass": true,
	"OutcomeEvaluated": true, "OutcomeRecovered": true, "OutcomeRolledBack": true, "OutcomeAborted": true, "OutcomeAbortedNoLease": true, "OutcomeDirty": true,
	"ReleaseLease": true, "Report": true, "ByOutcome": true,
	"Evaluated": true, "Recovered": true, "RolledBack": true, "Aborted": true, "Dirty": true, "Skipped": true, "Refused": true,
}

// beforeLease are the states during which nothing was changed and no lease was taken.
var beforeLease = map[string]bool{"Admit": true, "HoldDown": true, "ConfirmAlarm": true, "ByMode": true, "AssessOnly": true}

// beforeChange are the states during which a lease may have been taken and snapshots made, and nothing else.
var beforeChange = map[string]bool{"TakeLease": true, "CaptureRollbackPoint": true, "RecoverOrDrill": true}

// From is the state at which a dead run is taken up.
func From(next string, r run.Run) string {
	// The choice that reads a task's phase belongs to the task.
	node := strings.TrimSuffix(next, "Phase")
	switch {
	case next == reportFailed:
		return report
	case ending[node]:
		return next
	case beforeLease[node] || r.Mode == run.Evaluate:
		return abortWithoutLease
	case beforeChange[node]:
		return abort
	case r.Gate != nil && r.Gate.Phase == run.Passed:
		return afterGate
	default:
		// Somewhere between the first change and the gate's yes: Rollback and Teardown read from the journal what was done.
		return giveUp
	}
}
