package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/functions/janitor"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Dead lists the runs whose process died before they ended.
func (r *Runner) Dead() ([]runstore.Saved, error) {
	all, err := r.Store.List()
	var dead []runstore.Saved
	for _, s := range all {
		if s.End == nil && !s.Alive {
			dead = append(dead, s)
		}
	}
	return dead, err
}

// Finish ends a run whose process died. The run's cluster must be reachable: otherwise nothing could be undone, and the run is left
// as it is for a later try.
func (r *Runner) Finish(ctx context.Context, id string) (Result, error) {
	s, err := r.Store.Load(id)
	switch {
	case err != nil:
		return Result{}, CouldNotRun{err}
	case s.End != nil:
		return Result{}, CouldNotRun{fmt.Errorf("run %s has ended already (%s)", id, s.End.Terminal)}
	}
	rec, err := r.Store.Open(id)
	if err != nil {
		return Result{}, CouldNotRun{fmt.Errorf("run %s: %w", id, err)}
	}
	defer rec.Close()
	k := keeper{r, rec}
	if s.Run.DryRun {
		end := runstore.End{Terminal: "DryRun", At: r.Now().UTC()}
		return Result{Run: s.Run, End: end}, rec.Finish(end)
	}
	if _, err := r.reach(ctx, s.Run); err != nil {
		return Result{}, CouldNotRun{fmt.Errorf("run %s cannot be finished now: %w", id, err)}
	}
	h := &janitor.Handler{
		// The process is gone (we hold its lock), and with it every step: nothing is to be waited out.
		Quiesce: 0,
		Resume: func(ctx context.Context, state string, input json.RawMessage) (walk.Result, error) {
			return walk.Resume(ctx, r.options(k, r.steps(k, r.janitors), nil), state, input)
		},
	}
	out := Result{Run: s.Run}
	began, busy := time.Now(), r.conn.busy()
	res, err := h.Finish(ctx, janitor.Dead{Next: s.Checkpoint.Next, State: s.Checkpoint.Run})
	out.Took, out.ClusterTook = time.Since(began), r.conn.busy()-busy
	return r.ended(k, out, res, err)
}

// reach loads the run's plan and asks its cluster for its version.
func (r *Runner) reach(ctx context.Context, x run.Run) (leaseName string, err error) {
	p, err := r.env.LoadPlan(ctx, run.PlanRef{URI: x.Plan.URI})
	if err != nil {
		return "", err
	}
	c, err := r.env.Connect(ctx, p)
	if err != nil {
		return "", err
	}
	w := p.Spec.Workload
	return lease.Name(w.Namespace, w.StatefulSet), reachable(ctx, c, firstContact)
}

// Resolve clears a Dirty run: a person has looked. The workload's lease is let go, if the run still holds it.
func (r *Runner) Resolve(ctx context.Context, id string) error {
	s, err := r.Store.Load(id)
	switch {
	case err != nil:
		return err
	case s.End == nil && s.Alive:
		return fmt.Errorf("run %s is still running", id)
	case s.End == nil:
		return fmt.Errorf("run %s has not ended: fallback janitor %s finishes it", id, id)
	case s.End.Resolved != nil:
		return fmt.Errorf("run %s was resolved at %s", id, s.End.Resolved.Format(time.RFC3339))
	case s.End.Outcome != run.Dirty:
		return fmt.Errorf("run %s ended %s: only a Dirty run is to be resolved", id, s.End.Terminal)
	}
	rec, err := r.Store.Open(id)
	if err != nil {
		return err
	}
	defer rec.Close()
	name, err := r.reach(ctx, s.Run)
	if err != nil {
		return err
	}
	p, err := r.env.LoadPlan(ctx, run.PlanRef{URI: s.Run.Plan.URI})
	if err != nil {
		return err
	}
	c, err := r.env.Connect(ctx, p)
	if err != nil {
		return err
	}
	have, err := lease.Clear(ctx, c, name, id)
	if err != nil {
		return err
	}
	if have.Holder == id {
		return errors.New("the lease was cleared, and read back it still names the run: try again")
	}
	now := r.Now().UTC()
	s.End.Resolved = &now
	return rec.Finish(*s.End)
}
