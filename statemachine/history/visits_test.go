package history

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/statemachine/chain"
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

// TestVisitsOfARedriven: the state that the execution died in is there twice, as it died and as it went on.
func TestVisitsOfARedriven(t *testing.T) {
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	p := &paged{size: 100}
	p.events.enter("Task", "Admit", `{}`)
	p.events.plain(types.HistoryEventTypeLambdaFunctionScheduled, types.HistoryEventTypeExecutionAborted, types.HistoryEventTypeExecutionRedriven,
		types.HistoryEventTypeLambdaFunctionScheduled)
	p.events.exit("Task", "Admit", `{}`)
	p.events.enter("Choice", "AdmitPhase", `{}`)
	p.events.exit("Choice", "AdmitPhase", `{}`)
	p.events.enter("Task", "Report", `{}`)
	es, err := Events(t.Context(), p, ofShop, m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range Visits(es) {
		got = append(got, fmt.Sprintf("%s %q %q %s", v.State, v.Reason, v.Next, v.Duration))
	}
	if want := []string{`Admit "Aborted" "" 2s`, `Admit "" "Report" 2s`, `Report "" "" 0s`}; !slices.Equal(got, want) {
		t.Errorf("visits %q, want %q", got, want)
	}
}
