package events

import (
	"encoding/json"
	"fmt"

	"fallbackchain.io/fallback/shared/run"
)

// Parser turns the events of one source and detail-type into an Event.
type Parser interface {
	// Source and DetailType are what EventBridge matches events by. Both are empty for input that has no envelope.
	Source() string
	DetailType() string
	// Parse reads the event. Its error is of type Mistakes and names every field that is wrong.
	Parse(Input) (Event, error)
}

// Input is an event as a parser gets it.
type Input struct {
	// Raw is the event itself, without what a rule wrapped around it.
	Raw []byte
	// Plan is the plan reference that the rule's input transformer put beside the event; nil without one.
	Plan *run.PlanRef
}

type key struct{ source, detailType string }

// Registry finds the parser of an event.
type Registry struct{ parsers map[key]Parser }

// NewRegistry returns a registry of the parsers. Two parsers for one source and detail-type are an error.
func NewRegistry(parsers ...Parser) (*Registry, error) {
	r := &Registry{parsers: map[key]Parser{}}
	for _, p := range parsers {
		k := key{p.Source(), p.DetailType()}
		if _, taken := r.parsers[k]; taken {
			return nil, fmt.Errorf("two parsers for source %q and detail-type %q", k.source, k.detailType)
		}
		r.parsers[k] = p
	}
	return r, nil
}

// Default returns the registry of every trigger. machineARN is the fallback state machine, whose dead executions the
// janitor finishes; other machines' executions are no-ops.
func Default(machineARN string) (*Registry, error) {
	return NewRegistry(Scheduler{}, Alarm{}, Execution{MachineARN: machineARN}, Manual{})
}

// Parse turns a function's payload into an Event. The error names every field that is wrong. The payload is an event, or
// what a rule's input transformer makes of one:
//
//	{"plan": {"name": "shop", "uri": "s3://plans/shop.yaml"}, "event": <aws.events.event.json>}
//
// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html). The predefined variable is
// accepted as the object and as the text of one.
func (r *Registry) Parse(payload []byte) (Event, error) {
	var bad Mistakes
	o := newObject("", payload, &bad)
	if len(bad) > 0 {
		return nil, bad
	}
	in := Input{Raw: payload}
	if o.has("event") && !o.has("source") && !o.has("detail-type") {
		o.only("plan", "event")
		plan := readPlan(o, &bad)
		in.Plan = &plan
		in.Raw = o.fields["event"]
		var text string
		if json.Unmarshal(in.Raw, &text) == nil {
			in.Raw = []byte(text)
		}
		o = newObject("event", in.Raw, &bad)
	}
	source, _ := o.optional("source", "a text such as \"aws.cloudwatch\"")
	detailType, _ := o.optional("detail-type", "a text such as \"CloudWatch Alarm State Change\"")
	if len(bad) > 0 {
		return nil, bad
	}
	p, ok := r.parsers[key{source, detailType}]
	if !ok {
		id, _ := o.optional("id", "")
		return NoOp{Source: source, DetailType: detailType, ID: id,
			Reason: fmt.Sprintf("nothing starts on source %q with detail-type %q", source, detailType)}, nil
	}
	return p.Parse(in)
}

// readPlan reads the plan reference of o.
func readPlan(o object, bad *Mistakes) run.PlanRef {
	p := o.object("plan")
	p.only("name", "uri", "digest")
	if p.fields == nil {
		return run.PlanRef{}
	}
	ref := run.PlanRef{
		Name: p.text("name", wantPlanName),
		URI:  p.text("uri", wantURI),
	}
	ref.Digest, _ = p.optional("digest", wantDigest)
	*bad = append(*bad, checkPlan(p.path, ref)...)
	return ref
}
