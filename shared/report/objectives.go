package report

import (
	"cmp"
	"fmt"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// Objective is a measured figure against the plan's.
type Objective struct {
	Measured  time.Duration `json:"measuredNs"`
	Objective time.Duration `json:"objectiveNs,omitempty"`
	// Met is nil when the plan names no objective.
	Met *bool `json:"met,omitempty"`
}

// Missed tells whether the plan names an objective and it was not met.
func (o Objective) Missed() bool { return o.Met != nil && !*o.Met }

func against(measured, objective time.Duration) Objective {
	o := Objective{Measured: measured, Objective: objective}
	if objective > 0 {
		met := measured <= objective
		o.Met = &met
	}
	return o
}

// verdict is the short form that travels in the run.
func (o Objective) verdict(from string) *run.Verdict {
	return &run.Verdict{MeasuredMS: o.Measured.Milliseconds(), ObjectiveMS: o.Objective.Milliseconds(), Met: o.Met, From: from}
}

// Verdicts are the report's RTO and RPO in short; nil where nothing was measured.
func (r Report) Verdicts() (rto, rpo *run.Verdict) {
	if r.RTO != nil {
		rto = r.RTO.verdict("from detection to the gate")
	}
	if r.RPO != nil {
		rpo = r.RPO.verdict(r.RPO.What())
	}
	return rto, rpo
}

// What an RPO was told by. Only the heartbeat was measured in the data that came back.
const (
	Heartbeat   = "Heartbeat"
	BackupAge   = "BackupAge"
	SnapshotAge = "SnapshotAge"
)

// RPO is how much was lost: the age, when the run was triggered, of the newest thing that came back.
type RPO struct {
	Objective
	// From is Heartbeat, BackupAge or SnapshotAge.
	From string `json:"from"`
	// At is the time of the heartbeat, of the backup's start (as its age is counted when it is verified: what was written while it ran may not
	// be in it) or of the oldest snapshot.
	At time.Time `json:"at"`
	// Pod that the heartbeat was read from: the one that lags the most.
	Pod string `json:"pod,omitempty"`
	// Of is the backup's or the snapshot's name.
	Of string `json:"of,omitempty"`
}

// InData tells whether the figure was measured in the data.
func (p RPO) InData() bool { return p.From == Heartbeat }

// What says what the figure is.
func (p RPO) What() string {
	switch p.From {
	case Heartbeat:
		return "measured in the data: age of the newest heartbeat, read from " + p.Pod
	case BackupAge:
		return fmt.Sprintf("age of the backup %s, not measured in the data", p.Of)
	default:
		return fmt.Sprintf("age of the snapshot %s, not measured in the data", p.Of)
	}
}

// rpo takes the heartbeat where the gate measured one; else the age of what the data came back from: as the gate found it, or as the run's
// sections have it. Where the gate found heartbeats that measure nothing, and not what the data came from, nothing is known.
func rpo(r run.Run, objective time.Duration) *RPO {
	age := func(at time.Time) Objective { return against(max(r.Trigger.At.Sub(at), 0), objective) }
	if g := r.Gate; g != nil {
		switch p := g.RestoredFrom; {
		case g.HeartbeatAt != nil && g.RPOMS != nil && *g.RPOMS >= 0:
			return &RPO{Objective: against(time.Duration(*g.RPOMS)*time.Millisecond, objective), From: Heartbeat, At: *g.HeartbeatAt, Pod: g.HeartbeatPod}
		case p != nil:
			return &RPO{Objective: age(p.At), From: map[bool]string{true: BackupAge, false: SnapshotAge}[p.Kind == run.OfBackup], At: p.At, Of: p.Name}
		case g.NotMeasured != "":
			return nil
		}
	}
	if b := r.Backup; b != nil && b.Phase == run.Verified && usedBackup(r) {
		if at := cmp.Or(b.StartedAt, b.CompletedAt); at != nil {
			return &RPO{Objective: age(*at), From: BackupAge, At: *at, Of: b.Name}
		}
	}
	if r.Restore == nil || len(r.Restore.Claims) == 0 {
		return nil
	}
	oldest := r.Restore.Claims[0]
	for _, c := range r.Restore.Claims {
		if c.TakenAt.Before(oldest.TakenAt) {
			oldest = c
		}
	}
	if oldest.TakenAt.IsZero() {
		return nil
	}
	return &RPO{Objective: age(oldest.TakenAt), From: SnapshotAge, At: oldest.TakenAt, Of: oldest.Title()}
}

// usedBackup tells whether the run brought something back from the backup: a drill that restored, a control plane tier that succeeded.
func usedBackup(r run.Run) bool {
	return r.Restore != nil || (r.ControlPlane != nil && r.ControlPlane.Phase == run.Succeeded)
}
