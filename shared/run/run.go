// Package run holds a run and the sections that its steps write. A step reads the whole run and writes only its own
// section; a section stays under SectionLimit.
package run

import (
	"time"
)

// SectionLimit is the most bytes a section may have as JSON. 25 sections of it stay under PayloadLimit.
const SectionLimit = 8 << 10

// PayloadLimit is the most bytes the state of a Step Functions execution may have
// (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html, "Maximum input or output size").
const PayloadLimit = 256 << 10

// Mode is what a run is for.
type Mode string

const (
	Evaluate Mode = "evaluate"
	Recover  Mode = "recover"
	Drill    Mode = "drill"
	Failover Mode = "failover"
	Failback Mode = "failback"
)

// Modes lists every mode; Supported tells which of them run today.
var Modes = []Mode{Evaluate, Recover, Drill, Failover, Failback}

// Supported tells whether this version can run the mode.
func (m Mode) Supported() bool { return m == Evaluate || m == Recover || m == Drill }

// TriggerKind is what started a run.
type TriggerKind string

const (
	Schedule TriggerKind = "schedule"
	Alarm    TriggerKind = "alarm"
	Manual   TriggerKind = "manual"
)

// Trigger is what started a run, and when it was noticed.
type Trigger struct {
	Kind TriggerKind `json:"kind"`
	// ID is the event's own ID, the same for a redelivery.
	ID string `json:"id,omitempty"`
	// At is when the event happened (detection): RTO counts from here.
	At time.Time `json:"at"`
	// AlarmARN is the alarm to read again after the hold-down.
	AlarmARN string `json:"alarmArn,omitempty"`
	// Requester is who asked for a manual run.
	Requester string `json:"requester,omitempty"`
}

// PlanRef points to the plan; the plan itself never travels in the state.
type PlanRef struct {
	Name string `json:"name"`
	// URI is a file path or s3://bucket/key.
	URI string `json:"uri"`
	// Digest is "sha256:<hex>" of the plan's bytes; a step refuses a plan whose bytes changed in mid run.
	Digest string `json:"digest,omitempty"`
}

// Run is the state of one execution of a plan: the JSON that travels through the state machine.
type Run struct {
	ID      string  `json:"id"`
	Mode    Mode    `json:"mode"`
	Trigger Trigger `json:"trigger"`
	Plan    PlanRef `json:"plan"`
	// StartedAt is when the run's first state began.
	StartedAt time.Time `json:"startedAt"`
	// DryRun makes every step say what it would change and change nothing. Only in process.
	DryRun bool `json:"dryRun,omitempty"`
	// FinishedBy is "janitor" when the run's own execution died and another process took it up.
	FinishedBy string `json:"finishedBy,omitempty"`

	Admit         *Admit         `json:"admit,omitempty"`
	Lease         *Lease         `json:"lease,omitempty"`
	Backup        *Backup        `json:"backup,omitempty"`
	Rehearsal     *Rehearsal     `json:"rehearsal,omitempty"`
	Assess        *Assess        `json:"assess,omitempty"`
	RollbackPoint *RollbackPoint `json:"rollbackpoint,omitempty"`
	Quarantine    *Quarantine    `json:"quarantine,omitempty"`
	Restore       *Restore       `json:"restore,omitempty"`
	VolumeSync    *Tier          `json:"volumesync,omitempty"`
	ControlPlane  *Tier          `json:"controlplane,omitempty"`
	Degraded      *Tier          `json:"degraded,omitempty"`
	Gate          *Gate          `json:"gate,omitempty"`
	Rollback      *Undo          `json:"rollback,omitempty"`
	Teardown      *Undo          `json:"teardown,omitempty"`
	Report        *Report        `json:"report,omitempty"`

	// Demotions holds, by tier, the assessment before it and the fault or failure that ended it.
	Demotions map[string]Demotion `json:"demotions,omitzero"`
	// Faults holds, by section, what a Catch outside the tiers wrote.
	Faults map[string]CaughtFault `json:"faults,omitzero"`
	// Outcome is set by the graph's Outcome states.
	Outcome *OutcomeSection `json:"outcome,omitempty"`
}

// Request is a task's input: `{op, state: $$.State.Name, retries: $$.State.RetryCount, execution: $$.Execution.Name, run: $}`.
type Request struct {
	Op    string `json:"op"`
	State string `json:"state"`
	// Retries is how often the state was tried before; for the log only.
	Retries int `json:"retries,omitempty"`
	// Execution is the execution's name, which admit holds against the run's ID; "" in a process of its own, where there is no execution.
	Execution string `json:"execution,omitempty"`
	Run       Run    `json:"run"`
}

// CaughtFault is what a Catch writes: Step Functions' own two fields.
type CaughtFault struct {
	Error string `json:"Error"`
	Cause string `json:"Cause,omitempty"`
}

// Demotion is the step from a tier to a lower one.
type Demotion struct {
	Assess *Assess      `json:"assess,omitempty"`
	Fault  *CaughtFault `json:"fault,omitempty"`
}

// Outcome is how a run ended.
type Outcome string

const (
	Evaluated  Outcome = "Evaluated"
	Recovered  Outcome = "Recovered"
	RolledBack Outcome = "RolledBack"
	Aborted    Outcome = "Aborted"
	Dirty      Outcome = "Dirty"
	Skipped    Outcome = "Skipped"
)

// Outcomes lists every outcome.
var Outcomes = []Outcome{Evaluated, Recovered, RolledBack, Aborted, Dirty, Skipped}

// ExitCode is the CLI's exit code of an outcome: 0 recovered or evaluated (or rightly skipped), 1 not recovered, 3 dirty.
// 2 (could not run) belongs to runs that have no outcome.
func (o Outcome) ExitCode() int {
	switch o {
	case Evaluated, Recovered, Skipped:
		return 0
	case RolledBack, Aborted:
		return 1
	default:
		return 3
	}
}

// OutcomeSection is written by the graph.
type OutcomeSection struct {
	Name Outcome `json:"name"`
}

// Ended is the run's outcome: what the graph set, or the terminal state's name for one that ended before it was set. It is
// empty for a run that could not run (Refused, ReportFailed without an outcome, an error that nothing caught).
func (r Run) Ended(terminal string) Outcome {
	switch {
	case r.Outcome != nil:
		return r.Outcome.Name
	case terminal == string(Skipped):
		return Skipped
	default:
		return ""
	}
}
