package gate

import (
	"fmt"
	"time"

	"fallbackchain.io/fallback/shared/database"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// objectiveKind is the kind of a check that compares what was measured with the plan's objective; it says nothing of the data.
const objectiveKind = "Objective"

// beat is the newest heartbeat of one database.
type beat struct {
	at       time.Time
	pod, uid string
	from     origin
}

// lag is what the databases that were asked lag behind the trigger, when the run's loss was noticed: that of the one that lags the most.
type lag struct {
	beat
	// own tells that the heartbeat is the restored copy's own, so that nothing was measured in the data; age is the restore point's then.
	own bool
	age time.Duration
	// known is false when it is not known either what the data came from.
	known bool
}

// most finds the database that lags the most; nil without a heartbeat.
//
// A heartbeat of data that went on where it was counts as it is: what is from before the trigger and not there is lost, and one that was
// written after it (the workload writes again) loses nothing. Data that came from a backup or a snapshot is no newer than that: a later
// heartbeat (origin.wrote) is the copy's own and measures nothing; the restore point's age stands in for it, and is named as such. One that
// is later by no more than two clocks differ counts as the restore point's time.
func most(beats []beat, triggered time.Time) *lag {
	var out *lag
	for _, b := range beats {
		l := lag{beat: b, own: b.from.wrote(b.at, triggered), known: true}
		at := b.at
		switch {
		case l.own:
			at, l.known = b.from.point.At, b.from.unknown == ""
		case !b.from.until.IsZero() && at.After(b.from.until.Add(time.Second)): // Kubernetes' times have whole seconds
			at = b.from.until
		}
		// After the trigger: a workload that writes again, or a snapshot that this run took before its first change.
		l.age = max(triggered.Sub(at), 0)
		if out == nil || (out.known && (!l.known || l.age > out.age)) {
			out = &l
		}
	}
	return out
}

func triggered(r run.Run) time.Time {
	if r.Trigger.At.IsZero() {
		return r.StartedAt
	}
	return r.Trigger.At
}

// why says why no RPO was measured in the data; empty when one was.
func (l lag) why() string {
	after := "the restore point (" + l.from.String() + "): they are the copy's own heartbeats"
	switch {
	case !l.own:
		return ""
	case !l.known:
		after = "the trigger, and may be the copy's own (" + l.from.String() + ")"
	}
	return fmt.Sprintf("RPO not measured from the data: the newest heartbeats (%s on pod %s) were written after %s", l.at.UTC().Format(time.RFC3339), l.pod, after)
}

func (l lag) String() string {
	age := plan.Duration(l.age.Truncate(time.Millisecond)).String()
	switch {
	case !l.own:
		return age
	case !l.known:
		return "not known"
	default:
		return fmt.Sprintf("%s, the age of the %s %s (not measured from the data)", age, l.from.point.Kind, l.from.point.Name)
	}
}

// against compares the lag with the objective. One that is not known does not meet it.
//
// In a drill a miss fails the gate: a drill is there to prove the objective. In a recover it is recorded and does not refuse: the data that
// came back is the best there is, and rolling back would lose even more of it.
func (l lag) against(objective time.Duration) run.Check {
	return run.Check{Pod: l.pod, PodUID: l.uid, Name: "RPO objective", Kind: objectiveKind, Expected: "≤ " + plan.Duration(objective).String(),
		Got: database.Cap(l.String()), OK: l.known && l.age <= objective}
}
