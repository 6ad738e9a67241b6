// Package admit is the first state of a run, and again the one after a hold-down: it decides whether the run may go on.
// It changes nothing and asks no cluster.
//
// Two operations:
//
//   - admit checks the whole input (a person's input enters the machine directly), refuses modes that this version cannot
//     run, reads and pins the plan, and says which tiers are enabled and which namespace the steps work on. For an alarm it
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

// LastRun finds the newest run of a plan that changed its workload or may have (recover, neither Skipped nor Refused nor
// Aborted), other than the run itself. Nil when there is none within the time that the store remembers.
type LastRun interface {
	LastChange(ctx context.Context, planName, exceptRunID string) (*Change, error)
}

// Handler is the step. Alarms and LastRuns are only asked for runs that an alarm started; a nil one refuses those.
type Handler struct {
	Plans    PlanStore
	Alarms   Alarms
	LastRuns LastRun
	Now      func() time.Time
}

// HandleRaw reads the request {op, state, run} strictly: an unknown field of the run's input is a mistake, not overlooked.
func (h *Handler) HandleRaw(ctx context.Context, payload json.RawMessage) (run.Admit, error) {
	var req struct {
		Op    string          `json:"op"`
		State string          `json:"state"`
		Run   json.RawMessage `json:"run"`
	}
	op := "read the request {op, state, run}"
	if err := json.Unmarshal(payload, &req); err != nil {
		return run.Admit{}, fault.New(fault.InputInvalid, op, err)
	}
	out := run.Request{Op: req.Op, State: req.State}
	if req.Op == OpAdmit {
		r, err := events.ParseRun(req.Run)
		if err != nil {
			return run.Admit{}, fault.New(fault.InputInvalid, "check the run's input", err)
		}
		if r.DryRun {
			return run.Admit{}, fault.Newf(fault.InputInvalid, "check the run's input", "dryRun is true: expected false, a dry run is only made in process")
		}
		out.Run = r
	} else if err := json.Unmarshal(req.Run, &out.Run); err != nil {
		return run.Admit{}, fault.New(fault.InputInvalid, op, err)
	}
	return h.Handle(ctx, out)
}

// Handle does the request's operation.
func (h *Handler) Handle(ctx context.Context, req run.Request) (run.Admit, error) {
	switch req.Op {
	case OpAdmit:
		return h.admit(ctx, req.Run)
	case OpConfirm:
		return h.confirm(ctx, req.Run)
	}
	return run.Admit{}, fault.Newf(fault.InputInvalid, "admit", "op is %q: expected %s or %s", req.Op, OpAdmit, OpConfirm)
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

func (h *Handler) confirm(ctx context.Context, r run.Run) (run.Admit, error) {
	bad := events.Check(r)
	if r.Admit == nil || r.Admit.Phase != run.Hold {
		bad = append(bad, events.Mistake{Field: "admit.phase", Want: "Hold: only a run that was held is confirmed"})
	}
	if r.Trigger.Kind != run.Alarm {
		bad = append(bad, events.Mistake{Field: "trigger.kind", Got: fmt.Sprintf("%q", r.Trigger.Kind), Want: "alarm: only an alarm is read again"})
	}
	if len(bad) > 0 {
		return run.Admit{}, fault.New(fault.InputInvalid, "check the held run", bad)
	}
	ref := r.Plan
	if ref.Digest == "" {
		ref.Digest = r.Admit.PlanDigest // what was admitted, not what the plan became during the hold-down
	}
	p, _, err := h.load(ctx, ref)
	if err != nil {
		return run.Admit{}, err
	}
	s := *r.Admit
	s.Phase, s.Reason, s.Message = run.Admitted, "", ""
	skip, err := h.alarm(ctx, r)
	if skip == nil && err == nil {
		skip, err = h.cooling(ctx, r, p)
	}
	if err != nil {
		return run.Admit{}, err
	}
	if skip != nil {
		return skipped(s, skip), nil
	}
	s.Message = "the alarm lasted: it is still ALARM after the hold-down"
	return s, nil
}

// reason says why a run is skipped.
type reason struct{ code, message string }

func skipped(s run.Admit, why *reason) run.Admit {
	s.Phase, s.Reason, s.Message, s.HoldUntil = run.NotAdmitted, why.code, why.message, nil
	return s
}

// alarm reads the alarm again.
func (h *Handler) alarm(ctx context.Context, r run.Run) (*reason, error) {
	op := "read alarm " + r.Trigger.AlarmARN
	if h.Alarms == nil {
		return nil, fault.Newf(fault.InputInvalid, op, "this process reads no alarms: expected a run that was started by hand")
	}
	state, err := h.Alarms.State(ctx, r.Trigger.AlarmARN)
	if err != nil {
		return nil, keep(fault.Unavailable, op, err)
	}
	switch state {
	case StateAlarm:
		return nil, nil
	case StateOK:
		return &reason{AlarmCleared, "the alarm is OK again after the hold-down"}, nil
	case StateInsufficientData:
		return &reason{AlarmInsufficientData, "the alarm has too little data after the hold-down; it is not ALARM any more"}, nil
	}
	return nil, fault.Newf(fault.Internal, op, "its state is %q: expected OK, ALARM or INSUFFICIENT_DATA", state)
}

// cooling looks at the plan's last run that changed the workload.
func (h *Handler) cooling(ctx context.Context, r run.Run, p *plan.Plan) (*reason, error) {
	op := "find the last run of plan " + r.Plan.Name
	if h.LastRuns == nil {
		return nil, fault.Newf(fault.InputInvalid, op, "this process knows no earlier runs: expected a run that was started by hand")
	}
	last, err := h.LastRuns.LastChange(ctx, r.Plan.Name, r.ID)
	if err != nil {
		return nil, keep(fault.Unavailable, op, err)
	}
	if last == nil {
		return nil, nil
	}
	if last.EndedAt.IsZero() {
		return &reason{RunInProgress, fmt.Sprintf("run %s of this plan is under way", last.RunID)}, nil
	}
	cool := p.Spec.Triggers.CoolDown.D()
	if end := last.EndedAt.Add(cool); h.Now().Before(end) {
		return &reason{CoolingDown, fmt.Sprintf("run %s of this plan ended at %s: by alarm the next one starts %s later at the earliest, at %s",
			last.RunID, last.EndedAt.UTC().Format(time.RFC3339), cool, end.UTC().Format(time.RFC3339))}, nil
	}
	return nil, nil
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

// keep returns err when it is a fault already, and a fault of the code otherwise.
func keep(c fault.Code, op string, err error) error {
	if f := fault.From(err); f.Code != fault.Internal {
		return f
	}
	return fault.New(c, op, err)
}
