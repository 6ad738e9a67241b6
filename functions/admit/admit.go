// Package admit is the first state of a run, and again the one after a hold-down: it decides whether the run may go on.
// It changes nothing and asks no cluster.
//
// Two operations:
//
//   - admit checks the whole input (a person's input enters the machine directly), and that the execution's name is the run's ID,
//     refuses modes that this version cannot run, reads and pins the plan, and says which tiers are enabled and which namespace the steps work on. For an alarm it
//     looks at the cool-down, and holds when the plan has a hold-down.
//   - confirm comes after the hold-down. It reads the alarm again and looks at the cool-down again.
//
// An alarm that is no longer ALARM, whether OK or INSUFFICIENT_DATA, is Skipped: the next transition into ALARM starts a
// run of its own, so nothing is lost. An alarm that cannot be read is neither: it is a fault, Throttled and Unavailable
// are retried by the state machine, and the run then ends Refused. It is not taken for ALARM, because that would change
// production on a reading nobody has; and not for OK, because a refused run is a failed execution that somebody sees, and
// a skipped one is not. The cool-down follows the same rule.
package admit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
)

// The operations.
const (
	OpAdmit   = "admit"
	OpConfirm = "confirm"
)

// Reasons of the section.
const (
	// HoldDown: the alarm is read again at HoldUntil.
	HoldDown = "HoldDown"
	// AlarmCleared: the alarm is OK again.
	AlarmCleared = "AlarmCleared"
	// AlarmInsufficientData: CloudWatch has too little data to call it ALARM.
	AlarmInsufficientData = "AlarmInsufficientData"
	// CoolingDown: the plan's last changing run ended too recently.
	CoolingDown = "CoolingDown"
	// RunInProgress: a run that may change the workload is under way; it decides about its own alarm itself.
	RunInProgress = "RunInProgress"
)

// Tier names, as they stand in Admit.Tiers, from the most to the least preferred.
const (
	VolumeAttachmentSync  = "VolumeAttachmentSync"
	ControlPlaneReconcile = "ControlPlaneReconcile"
	DegradedStatefulSet   = "DegradedStatefulSet"
)

// PlanStore reads a plan's bytes. A missing plan is an error; one that is a *fault.Fault keeps its code.
type PlanStore interface {
	Read(ctx context.Context, uri string) ([]byte, error)
}

// ReadFunc is a PlanStore.
type ReadFunc func(ctx context.Context, uri string) ([]byte, error)

// Read calls the function.
func (f ReadFunc) Read(ctx context.Context, uri string) ([]byte, error) { return f(ctx, uri) }

// AlarmState is an alarm's state as CloudWatch names it.
type AlarmState string

const (
	StateOK               AlarmState = "OK"
	StateAlarm            AlarmState = "ALARM"
	StateInsufficientData AlarmState = "INSUFFICIENT_DATA"
)

// Alarms reads an alarm's present state. An alarm that does not exist is an error.
type Alarms interface {
	State(ctx context.Context, alarmARN string) (AlarmState, error)
}

// Change is a run of a plan that changed the workload, or may have.
type Change struct {
	RunID string
	// EndedAt is zero while the run goes on.
	EndedAt time.Time
}

// LastRun finds the run of the plan that an alarm has to wait for: one that is under way and began before runID, else the
// one that ended last. Only runs count that changed the workload or may have: recover, and neither Skipped nor Refused nor
// Aborted. Runs that ended before since may be left out. Nil when there is none. Runs that began after runID are left out
// while they are under way, or two runs would wait for each other.
type LastRun interface {
	LastChange(ctx context.Context, planName, runID string, since time.Time) (*Change, error)
}

// Handler is the step. Alarms and LastRuns are only asked for runs that an alarm started; a nil one refuses those.
type Handler struct {
	Plans    PlanStore
	Alarms   Alarms
	LastRuns LastRun
	Now      func() time.Time
}

// HandleRaw reads the state machine's request {op, state, execution, run} strictly: an unknown field of the run's input is a mistake, not
// overlooked; and so is an execution under another name than its run. Step Functions keeps executions of one name apart
// (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html), and that is what keeps runs of one ID apart:
// the lease is held by the run's ID, and report and janitor look for the execution of that name.
func (h *Handler) HandleRaw(ctx context.Context, payload json.RawMessage) (run.Admit, error) {
	var req struct {
		Op        string          `json:"op"`
		State     string          `json:"state"`
		Execution string          `json:"execution"`
		Run       json.RawMessage `json:"run"`
	}
	op := "read the request {op, state, execution, run}"
	if err := json.Unmarshal(payload, &req); err != nil {
		return run.Admit{}, fault.New(fault.InputInvalid, op, err)
	}
	var r run.Run
	if req.Op == OpAdmit {
		var err error
		if r, err = events.ParseRun(req.Run); err != nil {
			return run.Admit{}, fault.New(fault.InputInvalid, "check the run's input", err)
		}
		if r.DryRun {
			return run.Admit{}, fault.Newf(fault.InputInvalid, "check the run's input", "dryRun is true: expected false, a dry run is only made in process")
		}
	} else if err := json.Unmarshal(req.Run, &r); err != nil {
		return run.Admit{}, fault.New(fault.InputInvalid, op, err)
	}
	if req.Execution != r.ID {
		return run.Admit{}, fault.Newf(fault.InputInvalid, "check the execution's name",
			"execution is %q: expected %q, the run's id: start it again under that name", req.Execution, r.ID)
	}
	return h.Handle(ctx, req.Op, req.State, r)
}

// Handle does the operation; a process that walks the graph itself has no execution, and calls it directly.
func (h *Handler) Handle(ctx context.Context, op, _ string, r run.Run) (run.Admit, error) {
	switch op {
	case OpAdmit:
		return h.admit(ctx, r)
	case OpConfirm:
		return h.confirm(ctx, r)
	}
	return run.Admit{}, fault.Newf(fault.InputInvalid, "admit", "op is %q: expected %s or %s", op, OpAdmit, OpConfirm)
}

func (h *Handler) admit(ctx context.Context, r run.Run) (run.Admit, error) {
	if bad := events.CheckInput(r); len(bad) > 0 {
		return run.Admit{}, fault.New(fault.InputInvalid, "check the run's input", bad)
	}
	if !r.Mode.Supported() {
		return run.Admit{}, fault.Newf(fault.ModeNotSupported, "check the run's input",
			"mode is %q: this version runs evaluate, recover and drill; failover and failback are not built yet", r.Mode)
	}
	p, digest, err := h.load(ctx, r.Plan)
	if err != nil {
		return run.Admit{}, err
	}
	if r.Mode == run.Drill && p.Spec.Inventory == nil {
		return run.Admit{}, fault.Newf(fault.PlanInvalid, "check plan "+r.Plan.Name,
			"spec.inventory is missing: expected what a drill restores from")
	}
	s := run.Admit{Phase: run.Admitted, Tiers: tiers(p), Target: target(r, p), PlanDigest: digest}
	if r.Trigger.Kind != run.Alarm {
		return s, nil
	}
	skip, err := h.cooling(ctx, r, p)
	if err != nil {
		return run.Admit{}, err
	}
	if skip != nil {
		return skipped(s, skip), nil
	}
	if hold := p.Spec.Triggers.HoldDown.D(); hold > 0 {
		// Whole seconds, rounded up: every reader of a Wait state's TimestampPath accepts those.
		until := r.Trigger.At.Add(hold).UTC().Truncate(time.Second).Add(time.Second)
		s.Phase, s.Reason, s.HoldUntil = run.Hold, HoldDown, &until
		s.Message = fmt.Sprintf("the alarm must last for %s: it is read again at %s", hold, until.Format(time.RFC3339))
	}
	return s, nil
}

// load reads the plan, and refuses one with mistakes, under another name, or with other bytes than the reference pins.
func (h *Handler) load(ctx context.Context, ref run.PlanRef) (*plan.Plan, string, error) {
	op := "load plan " + ref.URI
	data, err := h.Plans.Read(ctx, ref.URI)
	if err != nil {
		return nil, "", keep(fault.PlanInvalid, op, err)
	}
	have := plan.Digest(data)
	if ref.Digest != "" && have != ref.Digest {
		return nil, "", fault.Newf(fault.PlanInvalid, op, "plan.digest is %s, but the plan's bytes have %s: the plan was changed", ref.Digest, have)
	}
	p, problems := plan.Parse(ref.URI, data)
	if err := problems.Err(); err != nil {
		return nil, "", fault.New(fault.PlanInvalid, op, err)
	}
	if p.Metadata.Name != ref.Name {
		return nil, "", fault.Newf(fault.PlanInvalid, op, "metadata.name is %q: expected %q, the run's plan.name", p.Metadata.Name, ref.Name)
	}
	return p.WithDefaults(), have, nil
}

// tiers tells of each tier whether it may be chosen. Without an inventory there is nothing to reconcile with.
func tiers(p *plan.Plan) map[string]bool {
	t := p.Spec.Tiers
	return map[string]bool{
		VolumeAttachmentSync:  plan.TierEnabled(t.VolumeAttachmentSync.Enabled),
		ControlPlaneReconcile: plan.TierEnabled(t.ControlPlaneReconcile.Enabled) && p.Spec.Inventory != nil,
		DegradedStatefulSet:   plan.TierEnabled(t.DegradedStatefulSet.Enabled),
	}
}

// target is the namespace that the steps work on: in a drill never the workload's own.
func target(r run.Run, p *plan.Plan) string {
	if r.Mode == run.Drill {
		return runid.DrillNamespace(r.ID)
	}
	return p.Spec.Workload.Namespace
}

// keep returns err when it is a fault already, Unavailable when the time ran out, and a fault of the code otherwise.
func keep(c fault.Code, op string, err error) error {
	var f *fault.Fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		c = fault.Unavailable
	}
	return fault.New(c, op, err)
}
