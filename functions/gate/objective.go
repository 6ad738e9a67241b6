package gate

import (
	"time"

	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// objectiveKind is the kind of a check that compares what was measured with the plan's objective; it says nothing of the data.
const objectiveKind = "Objective"

// beat is the newest heartbeat of one database.
type beat struct {
	at       *time.Time
	pod, uid string
	// age is what the copy lags behind the trigger: the measured RPO.
	age time.Duration
}

// oldest is the heartbeat of the database that lags the most. Its age is counted when the run was triggered, which is when the loss was
// noticed: what the copy lacks from before then is lost, while a heartbeat after it (a recovered workload may write again) loses nothing.
func oldest(beats []beat, triggered time.Time) beat {
	var out beat
	for _, b := range beats {
		if out.at == nil || b.at.Before(*out.at) {
			out = b
		}
	}
	if out.at != nil {
		out.age = max(triggered.Sub(*out.at), 0)
	}
	return out
}

func triggered(r run.Run) time.Time {
	if r.Trigger.At.IsZero() {
		return r.StartedAt
	}
	return r.Trigger.At
}

func (b beat) ageMS() *int64 {
	if b.at == nil {
		return nil
	}
	ms := b.age.Milliseconds()
	return &ms
}

// against compares the measured RPO with the objective; nil when there is none of either.
//
// In a drill a miss fails the gate: a drill is there to prove the objective. In a recover it is recorded and does not refuse: the data that
// came back is the best there is, and rolling back would lose even more of it.
func (b beat) against(objective time.Duration) *run.Check {
	if b.at == nil || objective == 0 {
		return nil
	}
	return &run.Check{Pod: b.pod, PodUID: b.uid, Name: "RPO objective", Kind: objectiveKind, Expected: "≤ " + plan.Duration(objective).String(),
		Got: plan.Duration(b.age.Truncate(time.Millisecond)).String(), OK: b.age <= objective}
}
