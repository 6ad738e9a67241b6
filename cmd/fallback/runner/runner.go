// Package runner runs a plan in this process: the same graph and the same handlers as in AWS, with adapters at the edge for
// the plan (a file), the cluster (a kubeconfig), the journal, the state and the report (a directory).
package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/shared/awsedge/backupkey"
	"fallbackchain.io/fallback/shared/cluster"
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
	// AsFunctions lets each step connect as its function does in AWS: by the context of the plan's kubeconfig that is called as the
	// function's group, fallback-chain:<function>. A missing right then fails the run as it would there.
	AsFunctions bool

	env      *step.Env
	conn     *connector
	aborting atomic.Bool
}

// New returns a runner over a directory of runs.
func New(store runstore.Store) *Runner {
	conn := &connector{}
	r := &Runner{Store: store, Now: time.Now, conn: conn}
	r.env = &step.Env{
		LoadPlan: loadPlan, Connect: conn.as(""), Inventory: openInventory, Journals: &journal.Files{Dir: store.Dir}, Guard: leaseGuard,
		Backups: OpenBackups, BackupKey: backupkey.Open, Read: &step.BackupCache{}, Evidence: step.EvidenceFiles{Dir: store.Dir},
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
	// Took is the run's time, ClusterTook the part of it during which the cluster or its database was being waited for, both in
	// nanoseconds; the rest is our own (orchestration overhead).
	Took        time.Duration `json:"took"`
	ClusterTook time.Duration `json:"clusterTook"`
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
	input, p, c, err := r.prepare(ctx, q)
	if err != nil {
		return Result{}, CouldNotRun{err}
	}
	if r.AsFunctions { // the plan's user changes nothing then
		err = r.identified(ctx, p)
	} else {
		err = r.permitted(ctx, c, p, input)
	}
	if err != nil {
		return Result{}, CouldNotRun{err}
	}
	rec, err := r.Store.Open(input.ID)
	if err != nil {
		return Result{}, CouldNotRun{fmt.Errorf("the run cannot be kept: %w; nothing was begun", err)}
	}
	defer rec.Close()
	k := keeper{r, rec}
	raw, err := k.begin(chain.Fallback().Start, input)
	if err != nil {
		return Result{}, CouldNotRun{fmt.Errorf("%w; nothing was begun", err)}
	}
	return r.walk(ctx, k, input, raw)
}

// prepare reads the plan and reaches the cluster, and builds the run's input.
func (r *Runner) prepare(ctx context.Context, q Request) (in run.Run, p *plan.Plan, c *cluster.Client, err error) {
	path, err := filepath.Abs(q.PlanPath)
	if err != nil {
		return in, nil, nil, err
	}
	data, err := plan.Read(path)
	if err != nil {
		return in, nil, nil, err
	}
	p, problems := plan.Parse(q.PlanPath, data)
	if len(problems) > 0 {
		return in, nil, nil, problems
	}
	p = p.WithDefaults()
	p.Absolute(filepath.Dir(path))
	c, err = r.env.Connect(ctx, p)
	if err != nil {
		return in, nil, nil, err
	}
	if err := reachable(ctx, c, firstContact); err != nil {
		return in, nil, nil, err
	}
	now := r.Now().UTC()
	id, err := runid.New(p.Metadata.Name, q.Mode, now, fmt.Sprintf("%s/%d", path, now.UnixNano()))
	if err != nil {
		return in, nil, nil, err
	}
	in = run.Run{
		ID: id, Mode: q.Mode, StartedAt: now, DryRun: q.DryRun,
		Trigger:   run.Trigger{Kind: run.Manual, ID: id, At: now, Requester: q.Requester},
		Plan:      run.PlanRef{Name: p.Metadata.Name, URI: path, Digest: plan.Digest(data)},
		Demotions: map[string]run.Demotion{}, Faults: map[string]run.CaughtFault{},
	}
	return in, p, c, nil
}

// walk runs the graph and keeps every step.
func (r *Runner) walk(ctx context.Context, k keeper, input run.Run, raw json.RawMessage) (out Result, err error) {
	out.Run = input
	began, busy := time.Now(), r.conn.busy()
	defer func() { out.Took, out.ClusterTook = time.Since(began), r.conn.busy()-busy }()
	handlers := r.steps(k, r.own)
	for name, h := range handlers {
		if input.DryRun {
			h = dryRun(name, h)
		}
		handlers[name] = abortable(name, k.over, h)
	}
	var stop func(next string) error
	if input.DryRun {
		stop = func(next string) error {
			if !dryRunStops[next] {
				return nil
			}
			out.DryRunEndedBefore = next
			return errDryRunEnds
		}
	}
	res, err := walk.Walk(ctx, r.options(k, handlers, stop), raw)
	if errors.Is(err, errDryRunEnds) {
		out.Path = res.Path
		out.End = runstore.End{Terminal: "DryRun", At: r.Now().UTC()}
		return out, k.finish(out.End)
	}
	return r.ended(k, out, res, err)
}

// options are a walk's: every event and every state between two steps is kept. stop, when set, may end the walk before a state.
func (r *Runner) options(k keeper, handlers map[string]walk.Handler, stop func(next string) error) walk.Options {
	return walk.Options{
		Graph: chain.Fallback(), Handlers: handlers, Now: r.Now, OnEvent: k.event,
		Checkpoint: func(next string, state json.RawMessage) error {
			if stop != nil {
				if err := stop(next); err != nil {
					return err
				}
			}
			k.checkpoint(next, state)
			return nil
		},
	}
}

// ended takes what a walk returned into the result and keeps how the run ended.
func (r *Runner) ended(k keeper, out Result, res walk.Result, err error) (Result, error) {
	out.Path = res.Path
	if len(res.Output) > 0 {
		err = errors.Join(err, json.Unmarshal(res.Output, &out.Run))
	}
	if err != nil {
		return out, err
	}
	out.End = runstore.End{Terminal: res.Terminal, Error: res.Error, Cause: k.why(res.Cause), At: r.Now().UTC()}
	out.End.Outcome = out.Run.Ended(res.Terminal)
	return out, k.finish(out.End)
}

// RequestAbort asks the run of this process to stop: what it changed is undone.
func (r *Runner) RequestAbort() { r.aborting.Store(true) }

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
