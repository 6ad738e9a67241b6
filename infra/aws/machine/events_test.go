package machine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"fallbackchain.io/fallback/functions/intake"
)

// deployRules makes the template's rules on moto's event bus.
func (b *bed) deployRules() {
	for _, logical := range []string{"ExecutionDiedRule", "AlarmRule", "BackupWrittenRule"} {
		p := b.template.Properties(logical)
		pattern, err := json.Marshal(p["EventPattern"])
		if err != nil || p == nil {
			b.t.Fatalf("%s: %v %v", logical, p, err)
		}
		b.eventBridge(b.t, "PutRule", map[string]any{"Name": logical, "EventPattern": string(pattern), "State": "ENABLED"})
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
		b.eventBridge(b.t, "PutTargets", map[string]any{"Rule": logical, "Targets": targets})
	}
}

// eventBridge calls moto's EventBridge.
func (b *bed) eventBridge(t *testing.T, operation string, in map[string]any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.cloud.URL+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "AWSEvents."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=id/20261120/us-east-1/events/aws4_request, SignedHeaders=host, Signature=none")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	var failed struct {
		FailedEntryCount int
	}
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(said, &failed) != nil || failed.FailedEntryCount > 0 {
		t.Fatalf("%s: %s %s %v", operation, res.Status, said, err)
	}
}

// happens puts an event on the bus, as the service that it is of does. The rules say who gets it.
func (b *bed) happens(t *testing.T, event []byte) {
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
	b.eventBridge(t, "PutEvents", map[string]any{"Entries": []any{map[string]any{"Source": e.Source, "DetailType": e.DetailType, "Detail": string(e.Detail),
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

// beginsBy puts an event on the bus and returns what intake started.
func (b *bed) beginsBy(t *testing.T, event []byte) intake.Result {
	t.Helper()
	since := len(b.answers(t))
	b.happens(t, event)
	started := b.takes(t, since, 1)[0]
	if started.Action != intake.Started {
		t.Fatalf("intake: %+v", started)
	}
	return started
}
