package events

import (
	"encoding/json"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// Manual reads a run as a person gives it to the state machine: the whole skeleton, without an envelope. `fallback --aws`
// writes it; in the console it is typed. It enters the machine directly, so admit parses it too.
//
// The execution's name must be the run's id. The console's form and StartExecution without a name make one up
// (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html): write the value of "id" into the field Name,
// or the run ends Refused and changes nothing.
type Manual struct{}

// Source is empty: the input has no envelope.
func (Manual) Source() string { return "" }

// DetailType is empty: the input has no envelope.
func (Manual) DetailType() string { return "" }

// Parse returns a Start with the run as it is.
func (Manual) Parse(in Input) (Event, error) {
	r, err := ParseRun(in.Raw)
	if err != nil {
		return nil, err
	}
	return Start{Run: r}, nil
}

// inputFields are the fields of a run as an execution's input.
var inputFields = []string{"id", "mode", "trigger", "plan", "startedAt", "dryRun", "demotions", "faults"}

// ParseRun reads a run as an execution's input. The error is of type Mistakes and names every field that is wrong,
// unknown fields and sections that only steps may write among them.
func ParseRun(raw []byte) (run.Run, error) {
	var bad Mistakes
	o := newObject("", raw, &bad)
	if len(bad) > 0 {
		return run.Run{}, bad
	}
	o.only(inputFields...)
	r := run.Run{Demotions: map[string]run.Demotion{}, Faults: map[string]run.CaughtFault{}}
	// Missing fields are left to CheckInput: here only what is of the wrong type is noted.
	r.ID, _ = o.optional("id", wantID)
	mode, _ := o.optional("mode", "a mode as text")
	r.Mode = run.Mode(mode)
	if o.has("startedAt") {
		r.StartedAt = o.time("startedAt", wantRFC3339, time.RFC3339)
	}
	if o.has("trigger") {
		t := o.object("trigger")
		t.only("kind", "id", "at", "alarmArn", "requester")
		kind, _ := t.optional("kind", "schedule, alarm or manual")
		r.Trigger.Kind = run.TriggerKind(kind)
		r.Trigger.ID, _ = t.optional("id", "the event's ID as text")
		r.Trigger.AlarmARN, _ = t.optional("alarmArn", wantAlarmARN)
		r.Trigger.Requester, _ = t.optional("requester", "who asks, as text")
		if t.has("at") {
			r.Trigger.At = t.time("at", wantRFC3339, time.RFC3339)
		}
	}
	if o.has("plan") {
		p := o.object("plan")
		p.only("name", "uri", "digest")
		r.Plan.Name, _ = p.optional("name", wantPlanName)
		r.Plan.URI, _ = p.optional("uri", wantURI)
		r.Plan.Digest, _ = p.optional("digest", wantDigest)
	}
	if o.has("dryRun") && json.Unmarshal(o.fields["dryRun"], &r.DryRun) != nil {
		o.wrong("dryRun", "true or false")
	}
	for _, k := range []string{"demotions", "faults"} {
		if e := o.object(k); len(e.fields) > 0 {
			o.wrong(k, "{}: the run's steps write it")
		}
	}
	noted := map[string]bool{}
	for _, m := range bad {
		noted[m.Field] = true
	}
	for _, m := range CheckInput(r) {
		if !noted[m.Field] {
			bad = append(bad, m)
		}
	}
	return r, bad.Err()
}
