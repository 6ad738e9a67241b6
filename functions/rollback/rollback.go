// Package rollback undoes a recover that did not succeed. Where the gate said no, the data is what is bad: the workload is scaled to
// zero and each of its claims is made again, under its name, from the rollback point's snapshot. Then, and in every other case, what
// the tiers changed is put back from the journal.
//
// There is no memory besides the cluster and the journal: each call reads where things stand and goes on from there, so that a rollback
// that was killed at any point is simply called again. The volumes that held the bad data are never deleted: their reclaim policy
// is Retain from before the scale-down on, and stays so; the section names them.
package rollback

import (
	"context"
	"fmt"
	"slices"
	"time"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/undo"
)

// Handler serves the operations start and await.
type Handler struct {
	Env *step.Env
}

// states are the graph's states that run this step: their own changes are told from the tiers' by them.
var states = []string{"Rollback", "AwaitRollback"}

// captureState takes snapshots, which stay: they alone are nothing to undo.
const captureState = "CaptureRollbackPoint"

// Handle runs one operation. start does what can be done without waiting; await goes on until everything is undone, the slice is over
// (Running) or the budget is (Incomplete).
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Undo, error) {
	if op != "start" && op != "await" {
		return run.Undo{}, fault.Newf(fault.Internal, "rollback", "operation %q: expected start or await", op)
	}
	if r.Mode != run.Recover {
		return run.Undo{}, fault.Newf(fault.Internal, "rollback", "mode %s: only a recover is rolled back", r.Mode)
	}
	if op == "start" {
		nothing, err := h.nothing(ctx, r)
		if err != nil {
			return run.Undo{}, err
		}
		if nothing {
			return run.Undo{Phase: run.NothingToUndo, Message: "this run changed nothing"}, nil
		}
	}
	if op == "await" && r.Rollback != nil && r.Rollback.Phase == run.NothingToUndo {
		return *r.Rollback, nil // as start found it, without asking the API server
	}
	s, err := h.Env.Open(ctx, state, r)
	if err != nil {
		return run.Undo{}, err
	}
	var out run.Undo
	if r.Rollback != nil {
		out = *r.Rollback
	}
	if out.Deadline == nil {
		out.Deadline = s.Deadline(s.Plan.Spec.Rollback.Budget)
	}
	w, err := newWork(ctx, s)
	if err != nil {
		return out, err
	}
	if op == "start" {
		_, err := w.putDataBack(ctx)
		if err := w.keep(err); err != nil {
			return out, err
		}
		out.Phase, out.Message = run.Started, w.doing
		return out, nil
	}
	out.Rounds++
	return h.await(ctx, s, w, out)
}

// nothing tells, from the journal alone, that there is nothing to undo: the gate gave no verdict on the data and no tier changed
// anything. The API server, which may be what is broken, is not asked.
func (h *Handler) nothing(ctx context.Context, r run.Run) (bool, error) {
	if dataIsBad(r) {
		return false, nil
	}
	j, err := h.Env.Journals.Open(ctx, r.ID)
	if err != nil {
		return false, fault.New(fault.JournalUnwritable, "open the journal of run "+r.ID, err)
	}
	entries, err := j.Entries(ctx)
	if err != nil {
		return false, fault.New(fault.JournalUnwritable, "read the journal of run "+r.ID, err)
	}
	made := func(e journal.Entry) bool {
		return e.State != captureState && (e.Done == nil || e.Done.Error == "")
	}
	return !slices.ContainsFunc(entries, made), nil
}

// planMistakes are the gate's refusals that say nothing about the data: putting older data back would not mend them.
var planMistakes = []string{"RoleRefused", "NothingAsked", "NoPodToAsk"}

// dataIsBad tells whether the gate said no to the data. A gate that ended with a fault gave no verdict.
func dataIsBad(r run.Run) bool {
	g := r.Gate
	return g != nil && (g.Phase == run.NotReady || (g.Phase == run.Refused && !slices.Contains(planMistakes, g.Reason)))
}

func ofRollback(e journal.Entry) bool { return slices.Contains(states, e.State) }
func ofTiers(e journal.Entry) bool    { return !ofRollback(e) }

// await goes through the stages; each is left only when it is complete.
func (h *Handler) await(ctx context.Context, s *step.Session, w *work, out run.Undo) (run.Undo, error) {
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	began := time.Now()
	// Changes run under ctx, not under the slice: one that is under way when the slice ends is finished and written down.
	stages := []func() (bool, error){
		func() (bool, error) { return w.wait(ctx, slice, w.putDataBack) },
		func() (bool, error) { return w.undo(slice, ofTiers) },
		func() (bool, error) { return w.wait(ctx, slice, w.scaleBack) },
		func() (bool, error) { return w.undoOwn(slice) },
		func() (bool, error) { return w.wait(ctx, slice, w.ready) },
	}
	done := true
	var err error
	for _, stage := range stages {
		done, err = stage()
		if err != nil || !done || (w.failed != nil && w.halfway) {
			break
		}
	}
	out.WaitedMS += time.Since(began).Milliseconds()
	if err := w.keep(err); err != nil {
		return out, err
	}
	return w.verdict(ctx, out, done)
}

// wait calls a stage after every change of the workload until it is complete, or the slice is over.
func (w *work) wait(ctx, slice context.Context, stage func(context.Context) (bool, error)) (bool, error) {
	if w.gaveUp() {
		return true, nil // what cannot be done is not tried again; the rest goes on
	}
	done := false
	_, err := w.s.Cluster.WaitFor(slice, 0, w.sources(), func(context.Context) (bool, error) {
		var err error
		done, err = stage(ctx)
		return done || w.failed != nil, err
	})
	err = w.keep(err)
	return done || w.failed != nil, err
}

// gaveUp tells whether the data cannot be put back.
func (w *work) gaveUp() bool { return w.failed != nil }

// keep remembers an error that concerns only the data (the rest is still undone), and returns every other: those that may go away, and
// those after which nothing more may be changed.
func (w *work) keep(err error) error {
	if err == nil {
		return nil
	}
	f := fault.From(cluster.Fault("roll back", err))
	if f.Class() == fault.Retry || f.Class() == fault.Dirty || f.Code == fault.Unauthorized {
		return err
	}
	if w.failed == nil {
		w.failed = f
	}
	return nil
}

func (w *work) undo(slice context.Context, filter func(journal.Entry) bool) (bool, error) {
	res, err := undo.Entries(slice, undo.Deps{Cluster: w.s.Cluster, Changer: w.changer, Replaced: w.replaced()}, filter)
	if len(res.Waiting) > 0 {
		w.doing = "waiting for " + firstOf(res.Waiting)
	}
	return len(res.Waiting) == 0, err
}

// undoOwn takes the pauses and the retention policy back, and removes imported snapshots. A workload that is to stay at zero stays
// paused: its owners would scale it up.
func (w *work) undoOwn(slice context.Context) (bool, error) {
	if w.data && !w.scalesBack() {
		return true, nil
	}
	return w.undo(slice, ofRollback)
}

func firstOf(lines []string) string {
	if len(lines) == 1 {
		return lines[0]
	}
	return fmt.Sprintf("%s and %d more", lines[0], len(lines)-1)
}
