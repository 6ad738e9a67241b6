package machine_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"fallbackchain.io/fallback/functions/intake"
	"fallbackchain.io/fallback/infra/aws/rights"
)

// deployRules makes the template's rules on moto's event bus.
func (b *bed) deployRules() {
	b.deployRulesOf(b.template, region, "ExecutionDiedRule", "AlarmRule", "BackupWrittenRule", "NotRecoveredRule")
}

// deployRulesOf makes a template's rules on the bus of a Region.
func (b *bed) deployRulesOf(template *rights.Stack, at string, rules ...string) {
	for _, logical := range rules {
		p := template.Properties(logical)
		pattern, err := json.Marshal(p["EventPattern"])
		if err != nil || p == nil {
			b.t.Fatalf("%s: %v %v", logical, p, err)
		}
		b.eventBridge(b.t, at, "PutRule", map[string]any{"Name": logical, "EventPattern": string(pattern), "State": "ENABLED"})
		var targets []any
		list, _ := p["Targets"].([]any)
		for _, e := range list {
			target := map[string]any{}
			for k, v := range e.(map[string]any) {
				if slices.Contains([]string{"Id", "Arn", "InputTransformer"}, k) { // moto knows no retries and no dead letters of a target
					target[k] = v
				}
			}
			targets = append(targets, target)
		}
		b.eventBridge(b.t, at, "PutTargets", map[string]any{"Rule": logical, "Targets": targets})
	}
}

// eventBridge calls moto's EventBridge in a Region.
func (b *bed) eventBridge(t *testing.T, at, operation string, in map[string]any) {
	t.Helper()
	var failed struct {
		FailedEntryCount int
	}
	if b.json(t, "events", "AWSEvents", at, operation, in, &failed); failed.FailedEntryCount > 0 {
		t.Fatalf("%s: %d entries failed", operation, failed.FailedEntryCount)
	}
}

// happens puts an event on the bus of the chain's Region, as the service that it is of does. The rules say who gets it.
func (b *bed) happens(t *testing.T, event []byte) {
	t.Helper()
	b.happensIn(t, region, event)
}

func (b *bed) happensIn(t *testing.T, at string, event []byte) {
	t.Helper()
	var e struct {
		Source     string          `json:"source"`
		DetailType string          `json:"detail-type"`
		Detail     json.RawMessage `json:"detail"`
		Resources  []string        `json:"resources"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		t.Fatal(err)
	}
	b.eventBridge(t, at, "PutEvents", map[string]any{"Entries": []any{map[string]any{"Source": e.Source, "DetailType": e.DetailType, "Detail": string(e.Detail),
		"Resources": e.Resources, "Time": time.Now().Unix()}}})
}

// takes waits until intake has answered so many times since a call of it, and returns the answers.
func (b *bed) takes(t *testing.T, since, n int) (out []intake.Result) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		if out = b.answers(t)[since:]; len(out) >= n {
			return out
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("intake answered %d events, want %d", len(out), n)
		}
	}
}

// answers are intake's, so far.
func (b *bed) answers(t *testing.T) (out []intake.Result) {
	t.Helper()
	for _, c := range b.host.Calls() {
		if c.Function != stackName+"-IntakeFunction" {
			continue
		}
		var r intake.Result
		if err := json.Unmarshal(c.Answer, &r); err != nil || c.Failed {
			t.Fatal(fmt.Errorf("intake: %s %w", c.Answer, err))
		}
		out = append(out, r)
	}
	return out
}

// beginsBy puts an event on the bus of a Region and returns what intake started.
func (b *bed) beginsBy(t *testing.T, at string, event []byte) intake.Result {
	t.Helper()
	since := len(b.answers(t))
	b.happensIn(t, at, event)
	started := b.takes(t, since, 1)[0]
	if started.Action != intake.Started {
		t.Fatalf("intake: %+v", started)
	}
	return started
}
