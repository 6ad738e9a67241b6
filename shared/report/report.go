// Package report turns a run into evidence: what was found, what was done, what was put back, what the database said and
// how long each part took. One model (Report) is written as JSON for machines, Markdown and a self-contained HTML page for
// people.
package report

import (
	"time"

	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// Version of the JSON report's form.
const Version = "fallbackchain.io/report/v1alpha1"

// Visit is one visit of a state, as the executor saw it (all rounds of an Await together).
type Visit struct {
	State     string        `json:"state"`
	Function  string        `json:"function,omitempty"`
	Op        string        `json:"op,omitempty"`
	StartedAt time.Time     `json:"startedAt"`
	Duration  time.Duration `json:"durationNs"`
	// Reason is why the state was left: a phase, a condition, an error's name; Next is where to.
	Reason string `json:"reason,omitempty"`
	Cause  string `json:"cause,omitempty"`
	Next   string `json:"next,omitempty"`
	// Rounds of an Await, and tries that were made again after an error.
	Rounds  int `json:"rounds,omitempty"`
	Retries int `json:"retries,omitempty"`
	// Failed tells that the state was left by an error or by a phase that is a failure.
	Failed bool `json:"failed,omitempty"`
}

// Status of a step; a parent's folds up from its children.
type Status string

const (
	Passed  Status = "Passed"
	Demoted Status = "Demoted"
	Failed  Status = "Failed"
)

// Step is a node of the step tree: one part of the run and the states it went through.
type Step struct {
	Name      string        `json:"name"`
	Status    Status        `json:"status"`
	StartedAt time.Time     `json:"startedAt"`
	Duration  time.Duration `json:"durationNs"`
	Reason    string        `json:"reason,omitempty"`
	Visits    []Visit       `json:"visits"`
}

// Tier is what became of one tier.
type Tier struct {
	Name string `json:"name"`
	// Phase is Succeeded, Failed or NotTaken.
	Phase   string   `json:"phase"`
	Reason  string   `json:"reason,omitempty"`
	Message string   `json:"message,omitempty"`
	Found   []string `json:"found,omitempty"`
	Done    []string `json:"done,omitempty"`
	// Signals are those of the assessment before the tier, when it was left downwards.
	Signals signal.Set `json:"signals,omitempty"`
}

// Change is one change from the journal.
type Change struct {
	Seq    int            `json:"seq"`
	At     time.Time      `json:"at"`
	State  string         `json:"state"`
	Verb   journal.Verb   `json:"verb"`
	Object journal.Object `json:"object"`
	Why    string         `json:"why"`
	// Result is Made, Refused or Unknown (the process died in between).
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
	// PutBack is Yes, No (it stands, as intended), NotNeeded or Failed; Note says how or why.
	PutBack string `json:"putBack"`
	Note    string `json:"note,omitempty"`
}

// Report is the whole evidence of one run.
type Report struct {
	Version string `json:"version"`
	// Remarks are what a reader must know before anything else.
	Remarks   []string    `json:"remarks,omitempty"`
	Run       string      `json:"run"`
	Mode      run.Mode    `json:"mode"`
	Plan      run.PlanRef `json:"plan"`
	Trigger   run.Trigger `json:"trigger"`
	StartedAt time.Time   `json:"startedAt"`
	WrittenAt time.Time   `json:"writtenAt"`
	Outcome   run.Outcome `json:"outcome"`
	// FinishedBy is "janitor" when the run's own process did not finish it.
	FinishedBy string `json:"finishedBy,omitempty"`
	// Namespace is what the run worked on.
	Namespace string `json:"namespace,omitempty"`
	// RTO is from detection to the passed gate; nil when no gate passed.
	RTO *Objective `json:"rto,omitempty"`
	// Waterfall is the RTO in parts.
	Waterfall *Waterfall `json:"waterfall,omitempty"`
	// RPO is measured in the data, or the age of what came back; nil when nothing tells.
	RPO           *RPO                       `json:"rpo,omitempty"`
	Backup        *run.Backup                `json:"backup,omitempty"`
	Rehearsal     *run.Rehearsal             `json:"rehearsal,omitempty"`
	Tiers         []Tier                     `json:"tiers"`
	Signals       signal.Set                 `json:"signals,omitempty"`
	Quarantine    *run.Quarantine            `json:"quarantine,omitempty"`
	Restore       *run.Restore               `json:"restore,omitempty"`
	Gate          *run.Gate                  `json:"gate,omitempty"`
	RollbackPoint *run.RollbackPoint         `json:"rollbackPoint,omitempty"`
	Rollback      *run.Undo                  `json:"rollback,omitempty"`
	Teardown      *run.Undo                  `json:"teardown,omitempty"`
	Faults        map[string]run.CaughtFault `json:"faults,omitempty"`
	Changes       []Change                   `json:"changes"`
	Steps         []Step                     `json:"steps"`
}
