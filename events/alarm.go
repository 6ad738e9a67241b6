package events

import (
	"fmt"
	"regexp"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// Alarm reads "CloudWatch Alarm State Change" of an alarm on a Route 53 health check, or on our own probe (infra/aws/probe.yaml)
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html). Only a transition into
// ALARM starts a recover; alarms on anything else are no-ops.
//
// Which plan the alarm belongs to is said by the rule, not by the alarm: the rule's input transformer puts the plan
// reference beside the event (see Registry.Parse). An alarm's description may be changed by whoever may write alarms, and
// a tag is not in the event; the rule is part of the deployment, is reviewed with it, and can pin the plan's digest. An
// alarm that goes into ALARM without a plan is an error, not a no-op: somebody expects it to start something.
type Alarm struct{}

// Source is, with DetailType, what the parser is registered by.
func (Alarm) Source() string { return "aws.cloudwatch" }

// DetailType is the event's kind within its source.
func (Alarm) DetailType() string { return "CloudWatch Alarm State Change" }

// alarmTime is the form of state.timestamp, e.g. 2019-10-02T17:04:40.989+0000: no colon in the zone, so not RFC 3339.
const alarmTime = "2006-01-02T15:04:05-0700"

const wantState = "OK, ALARM or INSUFFICIENT_DATA"

// anyAlarmARN takes the ARN apart loosely; the exact check is alarmARN.
var anyAlarmARN = regexp.MustCompile(`^arn:.*:alarm:(.+)$`)

// Parse returns a Start of mode recover, or a NoOp.
func (Alarm) Parse(in Input) (Event, error) {
	var bad Mistakes
	o := newObject("", in.Raw, &bad)
	id := o.text("id", "the event's ID")
	d := o.object("detail")
	if d.fields == nil {
		return nil, bad
	}
	name := d.text("alarmName", "the alarm's name")
	what, known := watched(d)
	if len(bad) == 0 && !known {
		return NoOp{Source: Alarm{}.Source(), DetailType: Alarm{}.DetailType(), ID: id,
			Reason: fmt.Sprintf("alarm %q watches neither a Route 53 health check nor a probe", name)}, nil
	}
	now, since := alarmState(d, "state")
	before, _ := alarmState(d, "previousState")
	arn := one(o, "resources", anyAlarmARN, wantAlarmARN)
	if m := alarmARN.FindStringSubmatch(arn); arn != "" && (m == nil || m[1] != name) {
		o.wrong("resources", fmt.Sprintf("the ARN of the alarm %q", name))
	}
	if len(bad) == 0 && (now != "ALARM" || before == "ALARM") {
		return NoOp{Source: Alarm{}.Source(), DetailType: Alarm{}.DetailType(), ID: id,
			Reason: fmt.Sprintf("alarm %q (%s) went from %s to %s, not into ALARM", name, what, before, now)}, nil
	}
	if in.Plan == nil {
		bad = append(bad, Mistake{Field: "plan",
			Want: `the plan's reference from the rule's input transformer: {"plan": {"name": …, "uri": …}, "event": <aws.events.event.json>}`})
	}
	if len(bad) > 0 {
		return nil, bad
	}
	return start(run.Run{
		Mode: run.Recover, Plan: *in.Plan,
		Trigger: run.Trigger{Kind: run.Alarm, ID: id, At: since, AlarmARN: arn},
	}, arn+" "+since.Format(time.RFC3339Nano))
}

// alarmState reads a state's value and the time since which it holds.
func alarmState(d object, key string) (string, time.Time) {
	s := d.object(key)
	if s.fields == nil {
		return "", time.Time{}
	}
	v := s.text("value", wantState)
	if v != "" && v != "OK" && v != "ALARM" && v != "INSUFFICIENT_DATA" {
		s.wrong("value", wantState)
	}
	return v, s.time("timestamp", "a time such as 2019-10-02T17:04:40.989+0000", alarmTime, time.RFC3339)
}

// ProbeNamespace and ProbeMetric are what infra/aws/probe.asl.json writes: 1 when the endpoint served, 0 when it did not.
const (
	ProbeNamespace = "FallbackChain"
	ProbeMetric    = "ProbeHealthy"
)

// watched says which health check or probe one of the alarm's metrics is of. Route 53's metrics and dimension:
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/monitoring-health-checks.html.
func watched(d object) (what string, ok bool) {
	c := d.object("configuration")
	if c.fields == nil {
		return "", false
	}
	for _, m := range c.list("metrics") {
		if !m.has("metricStat") { // an expression over other metrics
			continue
		}
		metric := m.object("metricStat").object("metric")
		namespace, _ := metric.optional("namespace", "the metric's namespace")
		name, _ := metric.optional("name", "the metric's name")
		var kind, dimension, want string
		switch {
		case namespace == "AWS/Route53" && (name == "HealthCheckStatus" || name == "HealthCheckPercentageHealthy"):
			kind, dimension, want = "health check", "HealthCheckId", "the health check's ID"
		case namespace == ProbeNamespace && name == ProbeMetric:
			kind, dimension, want = "probe of plan", "Plan", "the plan's name"
		default:
			continue
		}
		what = kind
		if d := metric.object("dimensions"); d.fields != nil {
			what += " " + d.text(dimension, want)
		}
		return what, true
	}
	return "", false
}
