package admit

import (
	"context"
	"fmt"
	"time"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

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
	cool, now := p.Spec.Triggers.CoolDown.D(), h.Now()
	last, err := h.LastRuns.LastChange(ctx, r.Plan.Name, r.ID, now.Add(-cool))
	if err != nil {
		return nil, keep(fault.Unavailable, op, err)
	}
	if last == nil {
		return nil, nil
	}
	if last.EndedAt.IsZero() {
		return &reason{RunInProgress, fmt.Sprintf("run %s of this plan is under way", last.RunID)}, nil
	}
	if end := last.EndedAt.Add(cool); now.Before(end) {
		return &reason{CoolingDown, fmt.Sprintf("run %s of this plan ended at %s: by alarm the next one starts %s later at the earliest, at %s",
			last.RunID, last.EndedAt.UTC().Format(time.RFC3339), cool, end.UTC().Format(time.RFC3339))}, nil
	}
	return nil, nil
}
