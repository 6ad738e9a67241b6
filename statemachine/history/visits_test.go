package history

import (
	"testing"
	"time"

	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

func TestVisitsGatherRounds(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	got := Visits([]walk.Event{
		{Kind: walk.Entered, State: "Admit", Function: "admit", At: at(0)},
		{Kind: walk.Exited, State: "Admit", Next: "Await", Reason: "Admitted", At: at(1)},
		{Kind: walk.Entered, State: "Await", Function: "volumesync", At: at(1)},
		{Kind: walk.Retried, State: "Await", At: at(2)},
		{Kind: walk.Exited, State: "Await", Next: "AwaitPhase", Reason: "Running", At: at(46)},
		{Kind: walk.Entered, State: "AwaitPhase", Type: graph.Choice, At: at(46)},
		{Kind: walk.Exited, State: "AwaitPhase", Type: graph.Choice, Next: "Await", At: at(46)},
		{Kind: walk.Entered, State: "Await", Function: "volumesync", At: at(46)},
		{Kind: walk.Exited, State: "Await", Next: "AwaitPhase", Reason: "Failed", At: at(50)},
		{Kind: walk.Entered, State: "AwaitPhase", Type: graph.Choice, At: at(50)},
		{Kind: walk.Exited, State: "AwaitPhase", Type: graph.Choice, Next: "Give", At: at(50)},
		{Kind: walk.Entered, State: "Gate", Function: "gate", At: at(50)},
		{Kind: walk.Caught, State: "Gate", Next: "Undo", Reason: "Unavailable", Cause: "refused", At: at(51)},
		{Kind: walk.Entered, State: "Report", Function: "report", At: at(51)},
	})
	if len(got) != 4 {
		t.Fatalf("%d visits: %+v", len(got), got)
	}
	if v := got[1]; v.Rounds != 2 || v.Retries != 1 || v.Duration != 49*time.Second || !v.Failed || v.Next != "Give" {
		t.Errorf("the awaiting state: %+v", v)
	}
	if v := got[2]; !v.Failed || v.Reason != "Unavailable" || v.Cause != "refused" {
		t.Errorf("the caught state: %+v", v)
	}
	if v := got[3]; v.State != "Report" || v.Reason != "" || v.Duration != 0 {
		t.Errorf("the state that is under way: %+v", v)
	}
}
