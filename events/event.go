// Package events holds what can start a run, and what tells that a backup was written: one parser for each trigger, registered by
// the event's source and detail-type. A parser turns an event into a run to start, a janitor request or a backup to seal; whatever
// nobody registered for is a NoOp that says so. Samples of each event, with the address of the page they come from, are in
// testdata/README.md.
//
// The run ID is derived here, from the event's identity, so that a redelivered event names the same run (see
// shared/runid). An identity is what the sender keeps the same: the schedule and its scheduled time, the alarm and the
// time of its transition. A delivery's own ID never counts.
package events

import (
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// Event is one of Start, Janitor, Backup and NoOp.
type Event interface{ event() }

// Start asks for a run. Run is the whole skeleton that the state machine takes as input; StartedAt is still zero unless
// the input said it.
type Start struct{ Run run.Run }

// Janitor says that an execution of the fallback machine ended without its own ends: it must be finished from outside.
type Janitor struct {
	// RunID is the ID in the execution's input, or the execution's name when the event left the input out.
	RunID        string `json:"runId"`
	ExecutionARN string `json:"executionArn"`
	// Status is FAILED, TIMED_OUT or ABORTED.
	Status string `json:"status"`
	// Error is the execution's error name, such as States.Runtime; empty when the event has none.
	Error string `json:"error,omitempty"`
	Cause string `json:"cause,omitempty"`
	// StoppedAt is zero when the event does not say.
	StoppedAt time.Time `json:"stoppedAt,omitzero"`
	// Run is the input of the execution: the run as it was started, without any section. Nil when the event left it out
	// (events above 248 KB).
	Run *run.Run `json:"run,omitempty"`
}

// NoOp is an event that starts nothing, with the reason.
type NoOp struct {
	Source     string `json:"source,omitempty"`
	DetailType string `json:"detailType,omitempty"`
	ID         string `json:"id,omitempty"`
	Reason     string `json:"reason"`
}

func (Start) event()   {}
func (Janitor) event() {}
func (NoOp) event()    {}
