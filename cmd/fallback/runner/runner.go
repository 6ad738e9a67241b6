// Package runner runs a plan in this process: the same graph and the same handlers as in AWS, with adapters at the edge for
// the plan (a file), the cluster (a kubeconfig), the journal, the state and the report (a directory).
package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Runner runs plans.
type Runner struct {
	Store runstore.Store
	Now   func() time.Time
	// OnEvent hears of every state; OnChange of every change before it is made. Both may be nil.
	OnEvent  func(walk.Event)
	OnChange func(journal.Intent)

	env *step.Env
}

// New returns a runner over a directory of runs.
func New(store runstore.Store) *Runner {
	r := &Runner{Store: store, Now: time.Now}
	conn := &connector{}
	r.env = &step.Env{
		LoadPlan: loadPlan, Connect: conn.connect, Journals: &journal.Files{Dir: store.Dir}, Guard: leaseGuard,
		Now: func() time.Time { return r.Now() },
		Say: func(i journal.Intent) {
			if r.OnChange != nil {
				r.OnChange(i)
			}
		},
	}
	return r
}

// Request is what to run.
type Request struct {
	Mode     run.Mode
	PlanPath string
	DryRun   bool
	// Requester is who asked.
	Requester string
}

// Result is how a run ended.
type Result struct {
	Run  run.Run      `json:"run"`
	Path []walk.Visit `json:"path"`
	End  runstore.End `json:"end"`
	// DryRunEndedBefore is the state that a dry run did not enter.
	DryRunEndedBefore string `json:"dryRunEndedBefore,omitempty"`
}

// CouldNotRun is a mistake found before anything was begun: exit code 2.
type CouldNotRun struct{ Err error }

func (e CouldNotRun) Error() string { return e.Err.Error() }
func (e CouldNotRun) Unwrap() error { return e.Err }

// firstContact is how long the cluster may take to answer before a run begins.
const firstContact = 10 * time.Second

// Start checks what can be checked beforehand, then runs the plan to its end.
func (r *Runner) Start(ctx context.Context, q Request) (Result, error) {
	input, err := r.prepare(ctx, q)
	if err != nil {
		return Result{}, CouldNotRun{err}
	}
	rec, err := r.Store.Open(input.ID)
	if err != nil {
		return Result{}, CouldNotRun{fmt.Errorf("keep run %s: %w", input.ID, err)}
	}
	defer rec.Close()
	return r.walk(ctx, rec, input)
}

// prepare reads the plan and reaches the cluster, and builds the run's input.
func (r *Runner) prepare(ctx context.Context, q Request) (run.Run, error) {
	path, err := filepath.Abs(q.PlanPath)
	if err != nil {
		return run.Run{}, err
	}
	data, err := plan.Read(path)
	if err != nil {
		return run.Run{}, err
	}
	p, problems := plan.Parse(q.PlanPath, data)
	if len(problems) > 0 {
		return run.Run{}, problems
	}
	p = p.WithDefaults()
	absolute(filepath.Dir(path), p)
	c, err := r.env.Connect(ctx, p)
	if err != nil {
		return run.Run{}, err
	}
	if err := reachable(ctx, c, firstContact); err != nil {
		return run.Run{}, err
	}
	now := r.Now().UTC()
	id, err := runid.New(p.Metadata.Name, q.Mode, now, fmt.Sprintf("%s/%d", path, now.UnixNano()))
	if err != nil {
		return run.Run{}, err
	}
	return run.Run{
		ID: id, Mode: q.Mode, StartedAt: now, DryRun: q.DryRun,
		Trigger:   run.Trigger{Kind: run.Manual, ID: id, At: now, Requester: q.Requester},
		Plan:      run.PlanRef{Name: p.Metadata.Name, URI: path, Digest: plan.Digest(data)},
		Demotions: map[string]run.Demotion{}, Faults: map[string]run.CaughtFault{},
	}, nil
}

// walk runs the graph and keeps every step.
func (r *Runner) walk(ctx context.Context, rec *runstore.Record, input run.Run) (Result, error) {
	raw, err := skeleton(input)
	if err != nil {
		return Result{}, err
	}
	out := Result{Run: input}
	handlers := r.handlers(rec.ID)
	for name, h := range handlers {
		if input.DryRun {
			h = dryRun(name, h)
		}
		handlers[name] = abortable(name, rec.AbortRequested, h)
	}
	var eventErr error
	res, err := walk.Walk(ctx, walk.Options{
		Graph: chain.Fallback(), Handlers: handlers, Now: r.Now,
		OnEvent: func(e walk.Event) {
			eventErr = errors.Join(eventErr, rec.Event(e))
			if r.OnEvent != nil {
				r.OnEvent(e)
			}
		},
		Checkpoint: func(next string, state json.RawMessage) error {
			if eventErr != nil {
				return fmt.Errorf("keep the run's events: %w", eventErr)
			}
			if input.DryRun && dryRunStops[next] {
				out.DryRunEndedBefore = next
				return errDryRunEnds
			}
			return rec.Checkpoint(runstore.Checkpoint{Next: next, Run: state, At: r.Now().UTC()})
		},
	}, raw)
	out.Path = res.Path
	if len(res.Output) > 0 {
		if uerr := json.Unmarshal(res.Output, &out.Run); uerr != nil {
			err = errors.Join(err, uerr)
		}
	}
	if errors.Is(err, errDryRunEnds) {
		out.End = runstore.End{Terminal: "DryRun", At: r.Now().UTC()}
		return out, rec.Finish(out.End)
	}
	if err != nil {
		return out, err
	}
	out.End = runstore.End{Terminal: res.Terminal, Error: res.Error, Cause: res.Cause, At: r.Now().UTC()}
	switch {
	case out.Run.Outcome != nil:
		out.End.Outcome = out.Run.Outcome.Name
	case res.Terminal == string(run.Skipped):
		out.End.Outcome = run.Skipped
	}
	return out, rec.Finish(out.End)
}

// skeleton is the input with the two maps that the graph writes into, present even when empty.
func skeleton(in run.Run) (json.RawMessage, error) {
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	for _, k := range []string{"demotions", "faults"} {
		if m[k] == nil {
			m[k] = map[string]any{}
		}
	}
	return json.Marshal(m)
}
