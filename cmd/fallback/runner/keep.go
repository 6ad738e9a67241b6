package runner

import (
	"context"
	"encoding/json"
	"fmt"

	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// NotKept is a run that ended, and whose record could not be written to its end: a full disk. Its outcome holds; the next start takes
// the run for one whose process died and looks at it again.
type NotKept struct{ Err error }

func (e NotKept) Error() string { return fmt.Sprintf("its record could not be kept: %v", e.Err) }
func (e NotKept) Unwrap() error { return e.Err }

// keeper writes down what a run does. A write that fails does not cut the run off, for its changes would stay: the run is asked
// to stop, which undoes them. No step begins that is not undoing, deciding or reporting.
type keeper struct {
	r   *Runner
	rec *runstore.Record
}

// over tells that the run is to be brought to its end.
func (k keeper) over() bool {
	return k.r.aborting.Load() || k.rec.AbortRequested() || k.rec.Short() != nil
}

func (k keeper) event(e walk.Event) {
	_ = k.rec.Event(e) // Short remembers
	if k.r.OnEvent != nil {
		k.r.OnEvent(e)
	}
}

// checkpoint keeps the state between two steps. What cannot be kept is still durable in the journal, and an older state: the janitor
// would go on from there.
func (k keeper) checkpoint(next string, state json.RawMessage) {
	_ = k.rec.Checkpoint(runstore.Checkpoint{Next: next, Run: state, At: k.r.Now().UTC()}) // Short remembers
}

// finish writes how the run ended.
func (k keeper) finish(e runstore.End) error {
	if err := k.rec.Finish(e); err != nil {
		return NotKept{err}
	}
	return nil
}

// why is appended to a run's cause when it was stopped because its record could not be written.
func (k keeper) why(cause string) string {
	if err := k.rec.Short(); err != nil {
		return fmt.Sprintf("%s The run was stopped because its record could not be written: %v.", cause, err)
	}
	return cause
}

// keptJournals gives the run's journal the reserve of its record.
type keptJournals struct {
	journal.Store
	rec *runstore.Record
}

func (s keptJournals) Open(ctx context.Context, runID string) (journal.Journal, error) {
	j, err := s.Store.Open(ctx, runID)
	if err != nil || runID != s.rec.ID {
		return j, err
	}
	return keptJournal{j, s.rec}, nil
}

type keptJournal struct {
	journal.Journal
	rec *runstore.Record
}

func (j keptJournal) Intend(ctx context.Context, i journal.Intent) (seq int, err error) {
	err = j.rec.Keep(func() error {
		seq, err = j.Journal.Intend(ctx, i)
		return err
	})
	return seq, err
}

func (j keptJournal) Done(ctx context.Context, d journal.Done) error {
	return j.rec.Keep(func() error { return j.Journal.Done(ctx, d) })
}

func (j keptJournal) Undone(ctx context.Context, u journal.Undone) error {
	return j.rec.Keep(func() error { return j.Journal.Undone(ctx, u) })
}

// begin makes the run's first checkpoint.
func (k keeper) begin(first string, in run.Run) (json.RawMessage, error) {
	raw, err := skeleton(in)
	if err != nil {
		return nil, err
	}
	return raw, k.rec.Begin(runstore.Checkpoint{Next: first, Run: raw, At: k.r.Now().UTC()})
}
