package events

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
)

// Execution reads "Step Functions Execution Status Change"
// (https://docs.aws.amazon.com/step-functions/latest/dg/cw-events.html) of the fallback machine. An
// execution that FAILED, TIMED_OUT or was ABORTED is the janitor's, because the timeout of a whole execution and
// StopExecution run no catcher. A FAILED that the graph itself wrote (its own Fail states, after its own report) is not.
type Execution struct {
	// MachineARN is the fallback machine's ARN. The events name it without a version or alias; one here is overlooked.
	MachineARN string
}

// Source is, with DetailType, what the parser is registered by.
func (Execution) Source() string { return "aws.states" }

// DetailType is the event's kind within its source.
func (Execution) DetailType() string { return "Step Functions Execution Status Change" }

var executionARN = regexp.MustCompile(`^arn:aws[a-z-]*:states:[a-z0-9-]+:[0-9]{12}:execution:[^:]+:[^:]+$`)

// endedByGraph are the errors of the graph's own Fail states after which nothing is left to do, or only for a person.
// ReportFailed is not among them: that run has no report.
var endedByGraph = map[string]bool{
	string(run.RolledBack): true, string(run.Aborted): true, string(run.Dirty): true, "Refused": true,
}

// Parse returns a Janitor or a NoOp.
func (p Execution) Parse(in Input) (Event, error) {
	var bad Mistakes
	o := newObject("", in.Raw, &bad)
	id := o.text("id", "the event's ID")
	d := o.object("detail")
	if d.fields == nil {
		return nil, bad
	}
	noop := func(format string, args ...any) (Event, error) {
		return NoOp{Source: p.Source(), DetailType: p.DetailType(), ID: id, Reason: fmt.Sprintf(format, args...)}, nil
	}
	machine := d.text("stateMachineArn", "the ARN of the state machine")
	if len(bad) == 0 && machine != p.MachineARN && !strings.HasPrefix(p.MachineARN, machine+":") {
		return noop("%s is not the fallback machine %s", machine, p.MachineARN)
	}
	j := Janitor{
		ExecutionARN: d.text("executionArn", wantExecution),
		Status:       d.text("status", wantStatus),
	}
	if j.ExecutionARN != "" && !executionARN.MatchString(j.ExecutionARN) {
		d.wrong("executionArn", wantExecution)
	}
	j.Error, _ = d.optional("error", "the error's name")
	j.Cause, _ = d.optional("cause", "the error's cause")
	j.StoppedAt = d.epoch("stopDate")
	name := d.text("name", "the execution's name")
	switch j.Status {
	case "":
	case "RUNNING", "SUCCEEDED", "PENDING_REDRIVE":
		if len(bad) == 0 {
			return noop("execution %s is %s: nothing to finish", name, j.Status)
		}
	case "FAILED":
		if len(bad) == 0 && endedByGraph[j.Error] {
			return noop("execution %s ended as %s by its own graph", name, j.Error)
		}
	case "TIMED_OUT", "ABORTED":
	default:
		d.wrong("status", wantStatus)
	}
	j.RunID, j.Run = runOf(d, name)
	if len(bad) > 0 {
		return nil, bad
	}
	return j, nil
}

const (
	wantStatus    = "RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED or PENDING_REDRIVE"
	wantExecution = "the ARN of an execution, such as arn:aws:states:eu-central-1:123456789012:execution:fallback-chain:NAME"
)

// runOf reads the run from the execution's input, and falls back on the execution's name, which is the run's ID unless
// somebody chose another one in the console, and then admit refuses it. An execution that never had a run as its input has nothing to clean up after,
// but that is not for a parser to conclude: it is a mistake.
func runOf(d object, name string) (string, *run.Run) {
	text, ok := d.optional("input", "the execution's input as text")
	if ok && text != "" {
		var r run.Run
		if err := json.Unmarshal([]byte(text), &r); err == nil {
			if _, err := runid.Parse(r.ID); err == nil {
				return r.ID, &r
			}
		}
	}
	if _, err := runid.Parse(name); err != nil && name != "" {
		d.wrong("name", "a run's ID, or a run as the execution's input")
	}
	return name, nil
}

// epoch reads a time in milliseconds since 1970 that may be missing.
func (o object) epoch(key string) time.Time {
	if !o.has(key) {
		return time.Time{}
	}
	var ms int64
	if err := json.Unmarshal(o.fields[key], &ms); err != nil || ms < 0 || ms > 253402300799999 {
		o.wrong(key, "milliseconds since 1970")
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
