package events

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
)

// SchedulerSource and SchedulerDetailType mark the document that a schedule of EventBridge Scheduler carries as its
// target's input.
const (
	SchedulerSource     = "fallbackchain.scheduler"
	SchedulerDetailType = "Scheduled Run"
)

var scheduleARN = regexp.MustCompile(`^arn:aws[a-z-]*:scheduler:[a-z0-9-]+:[0-9]{12}:schedule/[0-9A-Za-z-_.]+/[0-9A-Za-z-_.]+$`)

// Scheduler reads the input of our schedules. The document is ours, shaped like an EventBridge event:
//
//	{"source": "fallbackchain.scheduler", "detail-type": "Scheduled Run",
//	 "time": "<aws.scheduler.scheduled-time>", "resources": ["<aws.scheduler.schedule-arn>"],
//	 "detail": {"mode": "drill", "plan": {"name": "shop", "uri": "s3://plans/shop.yaml"}}}
//
// The Scheduler replaces the keywords
// (https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html). Its execution ID is
// of one attempt, not of the event, so an "id" is refused: the schedule and the scheduled time are the identity.
type Scheduler struct{}

// Source is, with DetailType, what the parser is registered by.
func (Scheduler) Source() string { return SchedulerSource }

// DetailType is the event's kind within its source.
func (Scheduler) DetailType() string { return SchedulerDetailType }

// Parse returns a Start of mode drill or evaluate.
func (Scheduler) Parse(in Input) (Event, error) {
	var bad Mistakes
	o := newObject("", in.Raw, &bad)
	if o.has("id") {
		o.wrong("id", "no ID: the Scheduler's execution ID changes with each attempt, the schedule and its time are the identity")
		delete(o.fields, "id")
	}
	o.only("source", "detail-type", "time", "resources", "detail")
	at := o.time("time", "the scheduled time, from <aws.scheduler.scheduled-time>, such as 2026-11-20T02:00:00Z", time.RFC3339)
	arn := one(o, "resources", scheduleARN, "one schedule's ARN, from <aws.scheduler.schedule-arn>")

	d := o.object("detail")
	d.only("mode", "plan")
	var ref run.PlanRef
	var mode run.Mode
	if d.fields != nil {
		modes := started[run.Schedule]
		want := fmt.Sprintf("one of %v", modes)
		mode = run.Mode(d.text("mode", want))
		if mode != "" && !slices.Contains(modes, mode) {
			d.wrong("mode", want)
		}
		ref = readPlan(d, &bad)
	}
	if len(bad) > 0 {
		return nil, bad
	}
	return start(run.Run{
		Mode: mode, Plan: ref,
		Trigger: run.Trigger{Kind: run.Schedule, ID: arn, At: at},
	}, arn+" "+at.Format(time.RFC3339Nano))
}

// start derives the ID and completes the skeleton.
func start(r run.Run, identity string) (Event, error) {
	id, err := runid.New(r.Plan.Name, r.Mode, r.Trigger.At, identity)
	if err != nil {
		return nil, Mistakes{{Field: "id", Got: "not derivable", Want: err.Error()}}
	}
	r.ID = id
	r.Demotions, r.Faults = map[string]run.Demotion{}, map[string]run.CaughtFault{}
	return Start{Run: r}, nil
}

// one reads an array of exactly one text that has the form.
func one(o object, field string, form *regexp.Regexp, want string) string {
	list := o.texts(field, want)
	if len(list) == 1 && form.MatchString(list[0]) {
		return list[0]
	}
	if list != nil {
		o.wrong(field, want)
	}
	return ""
}
