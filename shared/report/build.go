package report

import (
	"slices"
	"time"

	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// Input is what a report is built from.
type Input struct {
	Run     run.Run
	Entries []journal.Entry
	Visits  []Visit
	// RTO and RPO are the plan's objectives; 0 when it has none.
	RTO, RPO time.Duration
	Now      time.Time
}

// Build makes the report. It is pure: the same input gives the same report.
func Build(in Input) Report {
	r := in.Run
	out := Report{
		Version: Version, Run: r.ID, Mode: r.Mode, Plan: r.Plan, Trigger: r.Trigger, StartedAt: r.StartedAt, WrittenAt: in.Now,
		FinishedBy: r.FinishedBy, Backup: r.Backup, Rehearsal: r.Rehearsal, Quarantine: r.Quarantine, Restore: r.Restore, Gate: r.Gate,
		RollbackPoint: r.RollbackPoint, Rollback: r.Rollback, Teardown: r.Teardown, Faults: r.Faults,
		Tiers: tiers(r), Changes: changes(in.Entries), Steps: steps(in.Visits),
	}
	if r.Outcome != nil {
		out.Outcome = r.Outcome.Name
	}
	if r.Admit != nil {
		out.Namespace = r.Admit.Target
	}
	if r.Assess != nil {
		out.Signals = r.Assess.Signals
	}
	if out.Waterfall = waterfall(r, in.Visits); out.Waterfall != nil {
		o := against(out.Waterfall.Total, in.RTO)
		out.RTO = &o
	}
	out.RPO = rpo(r, in.RPO)
	out.Remarks = append(withoutLease(r), remarks(out)...)
	return out
}

// tiers lists all three in order of preference.
func tiers(r run.Run) []Tier {
	var out []Tier
	for _, t := range []struct {
		name    string
		section *run.Tier
	}{{"VolumeAttachmentSync", r.VolumeSync}, {"ControlPlaneReconcile", r.ControlPlane}, {"DegradedStatefulSet", r.Degraded}} {
		x := Tier{Name: t.name, Phase: "NotTaken"}
		if s := t.section; s != nil {
			x.Phase, x.Reason, x.Message, x.Found, x.Done = string(s.Phase), s.Reason, s.Message, s.Found, s.Done
		}
		if d, ok := r.Demotions[t.name]; ok {
			if d.Assess != nil {
				x.Signals = d.Assess.Signals
			}
			if d.Fault != nil {
				x.Phase, x.Reason, x.Message = string(run.Failed), d.Fault.Error, d.Fault.Cause
			}
		}
		out = append(out, x)
	}
	return out
}

// changes turns the journal into what a reader asks: was it made, does it stand.
func changes(es []journal.Entry) []Change {
	out := make([]Change, 0, len(es))
	for _, e := range es {
		c := Change{Seq: e.Seq, At: e.At, State: e.State, Verb: e.Verb, Object: e.Object, Why: e.Why, Result: "Made", PutBack: "No"}
		switch {
		case e.Done == nil:
			c.Result = "Unknown"
		case e.Done.Error != "":
			c.Result, c.Error = "Refused", e.Done.Error
		}
		switch {
		case e.Undone != nil && e.Undone.Error != "":
			c.PutBack, c.Note = "Failed", e.Undone.Error
		case e.Undone != nil:
			c.PutBack, c.Note = "Yes", e.Undone.Note
		case e.Undo == journal.UndoNothing || c.Result == "Refused":
			c.PutBack = "NotNeeded"
		}
		out = append(out, c)
	}
	return out
}

// partOf names the part of the run that a function's work belongs to.
var partOf = map[string]string{
	"admit/admit": "Admission", "admit/confirm": "Admission", "lease/acquire": "Preparation", "rollbackpoint/capture": "Preparation",
	"backup/choose": "Restore point", "backup/rehearse": "Rehearsal",
	"quarantine/apply": "Isolation", "quarantine/check": "Isolation", "quarantine/lift": "Lifting the quarantine",
	"restore/start": "Restore into quarantine", "restore/await": "Restore into quarantine", "assess/assess": "Assessment",
	"volumesync/start": "VolumeAttachmentSync", "volumesync/await": "VolumeAttachmentSync",
	"controlplane/start": "ControlPlaneReconcile", "controlplane/await": "ControlPlaneReconcile",
	"degraded/start": "DegradedStatefulSet", "degraded/await": "DegradedStatefulSet",
	"gate/ready": "Validation gate", "gate/transaction": "Validation gate",
	"rollback/start": "Rollback", "rollback/await": "Rollback", "teardown/start": "Teardown", "teardown/await": "Teardown",
	"lease/release": "Release",
}

// tierParts are the parts whose failure is a demotion and not the end.
var tierParts = []string{"VolumeAttachmentSync", "ControlPlaneReconcile"}

// steps groups visits of one part that follow each other; routing states belong to the part before them.
func steps(vs []Visit) []Step {
	var out []Step
	for _, v := range vs {
		if v.Function == "report" {
			continue // it is under way while it writes this
		}
		part := partOf[v.Function+"/"+v.Op]
		if part == "" && len(out) > 0 {
			part = out[len(out)-1].Name
		}
		if part == "" {
			part = "Start"
		}
		if len(out) == 0 || out[len(out)-1].Name != part {
			out = append(out, Step{Name: part, Status: Passed, StartedAt: v.StartedAt})
		}
		s := &out[len(out)-1]
		s.Visits = append(s.Visits, v)
		s.Duration = v.StartedAt.Add(v.Duration).Sub(s.StartedAt)
		if v.Function != "" {
			s.Reason = v.Reason
		}
		if v.Failed {
			s.Status = Failed
			if slices.Contains(tierParts, part) {
				s.Status = Demoted
			}
			if v.Cause != "" {
				s.Reason += ": " + firstLine(v.Cause)
			}
		}
	}
	return out
}

// failing are the phases by which a state says no.
var failing = []run.Phase{run.Failed, run.Broken, run.Refused, run.NotReady, run.Incomplete, run.Unreadable, run.Busy}

// IsFailure tells whether a phase is a no.
func IsFailure(phase string) bool { return slices.Contains(failing, run.Phase(phase)) }

// SignalRows lists a set in the order reports use.
func SignalRows(s signal.Set) []NamedSignal {
	var out []NamedSignal
	for _, n := range signal.Names {
		if g, ok := s[n]; ok {
			out = append(out, NamedSignal{n, g})
		}
	}
	return out
}

// NamedSignal is a signal with its name.
type NamedSignal struct {
	Name signal.Name
	signal.Signal
}
