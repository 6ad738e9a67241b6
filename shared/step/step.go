// Package step is what every step does before its own work: load the plan that the run points to, reach the cluster, open
// the run's journal and make the changer with the run's scope. What differs between AWS and a local run stands behind Env.
package step

import (
	"context"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// Env is what a process brings: one adapter for each edge.
type Env struct {
	// LoadPlan reads the plan, with defaults, and refuses bytes whose digest is not the reference's.
	LoadPlan func(ctx context.Context, ref run.PlanRef) (*plan.Plan, error)
	// Connect reaches the plan's cluster. Clients are kept warm by the adapter.
	Connect func(ctx context.Context, p *plan.Plan) (*cluster.Client, error)
	// Inventory opens the plan's inventory; a relative path is relative to the plan. Session.VerifiedInventory verifies it.
	Inventory func(ctx context.Context, ref run.PlanRef, p *plan.Plan) (*inventory.Bundle, error)
	// Backups opens the plan's place of Velero backups; BackupKey the key that verifies their manifests, nil when the plan names none.
	Backups   func(ctx context.Context, p *plan.Plan) (backup.Store, error)
	BackupKey func(ctx context.Context, p *plan.Plan) (backup.Verifier, error)
	// Read keeps the backups that were read last; nil: they are read again each time.
	Read *BackupCache
	// Journals holds the runs' journals, Evidence what is too large for a section.
	Journals journal.Store
	Evidence Evidence
	// Guard makes the check that the run still holds the workload's lease.
	Guard func(c *cluster.Client, p *plan.Plan, runID string) change.Guard
	// Now is the clock.
	Now func() time.Time
	// Say hears of every change before it is made; may be nil.
	Say func(journal.Intent)
}

// Session is one step's work for one run.
type Session struct {
	Run     run.Run
	State   string
	Plan    *plan.Plan
	Cluster *cluster.Client
	Journal journal.Journal
	Now     func() time.Time

	env *Env
}

// Open loads the plan, reaches the cluster and opens the journal.
func (e *Env) Open(ctx context.Context, state string, r run.Run) (*Session, error) {
	p, err := e.LoadPlan(ctx, Pinned(r))
	if err != nil {
		return nil, classified(fault.PlanInvalid, "load plan "+r.Plan.URI, err)
	}
	c, err := e.Connect(ctx, p)
	if err != nil {
		return nil, cluster.Fault("reach the cluster of plan "+p.Metadata.Name, err)
	}
	j, err := e.Journals.Open(ctx, r.ID)
	if err != nil {
		return nil, classified(fault.JournalUnwritable, "open the journal of run "+r.ID, err)
	}
	return &Session{Run: r, State: state, Plan: p, Cluster: c, Journal: j, Now: e.Now, env: e}, nil
}

// Pinned is the reference to the run's plan as it was admitted: with admit's digest when the run's input has none.
func Pinned(r run.Run) run.PlanRef {
	ref := r.Plan
	if ref.Digest == "" && r.Admit != nil {
		ref.Digest = r.Admit.PlanDigest
	}
	return ref
}

func classified(c fault.Code, op string, err error) error {
	if f := fault.From(err); f.Code != fault.Internal {
		return err
	}
	return fault.New(c, op, err)
}

// Target is the namespace the step works on: the drill's own in a drill, the workload's otherwise.
func (s *Session) Target() string {
	if s.Run.Mode == run.Drill {
		return DrillNamespace(s.Run.ID)
	}
	return s.Plan.Spec.Workload.Namespace
}

// DrillNamespace is the namespace of a drill: its name is derived from the run ID and from nothing else.
func DrillNamespace(runID string) string { return "drill-" + runID }

// Changer makes the run's changes, within its scope.
func (s *Session) Changer() *change.Changer {
	scope := change.Scope{Drill: s.Run.Mode == run.Drill, Namespace: s.Target(), Run: s.Run.ID}
	if d := s.Plan.Spec.Volumes.Controller; d != nil {
		scope.Extra = []string{d.Namespace}
	}
	if v := s.velero(); v != nil {
		scope.Velero = v.Namespace
	}
	guard := s.env.Guard(s.Cluster, s.Plan, s.Run.ID)
	if scope.Drill {
		guard = preemptible{guard}
	}
	return &change.Changer{
		Client: s.Cluster.Dynamic, Mapper: s.Cluster.Mapper, Journal: s.Journal, Guard: guard,
		Scope: scope, Run: s.Run.ID, Plan: s.Plan.Metadata.Name, State: s.State, Now: s.Now, DryRun: s.Run.DryRun, Say: s.env.Say,
	}
}

// OwnChanger is the Changer of a drill's teardown. It needs no lease: a drill reaches nothing but what carries its own run ID, which
// no other run may touch, and a drill that was preempted must still remove it.
func (s *Session) OwnChanger() *change.Changer {
	c := s.Changer()
	if c.Scope.Drill {
		c.Guard = unguarded{}
	}
	return c
}

// preemptible turns a lost lease into the end of a drill. For a recover it is Dirty, because two runs may have changed one
// workload; a drill has changed nothing that another run works on.
type preemptible struct{ change.Guard }

func (p preemptible) Check(ctx context.Context) error {
	err := p.Guard.Check(ctx)
	if err != nil && fault.From(err).Code == fault.LeaseLost {
		return fault.New(fault.LeasePreempted, "go on with the drill", err)
	}
	return err
}

type unguarded struct{}

func (unguarded) Check(context.Context) error { return nil }

// Deadline is the absolute end of a budget that begins now.
func (s *Session) Deadline(budget plan.Duration) *time.Time {
	t := s.Now().Add(budget.D()).UTC()
	return &t
}

// Slice bounds one Await: the shorter of cluster.Slice and the time to the deadline.
func (s *Session) Slice(ctx context.Context, deadline *time.Time) (context.Context, context.CancelFunc) {
	d := cluster.Slice
	if deadline != nil {
		d = min(d, deadline.Sub(s.Now()))
	}
	return context.WithTimeout(ctx, max(d, 0))
}

// Over tells whether the deadline has passed. No deadline is over: a budget that was never set is not unlimited.
func (s *Session) Over(deadline *time.Time) bool {
	return deadline == nil || !s.Now().Before(*deadline)
}
