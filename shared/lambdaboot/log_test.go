package lambdaboot

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/awstest"
)

// logLines runs this test's binary as a function in Lambda's JSON log format; each line must be a JSON object.
func logLines(t *testing.T, payloads ...string) []map[string]any {
	t.Helper()
	var in []invocation
	for _, p := range payloads {
		in = append(in, invocation{Payload: p, Left: time.Minute})
	}
	_, log := awstest.Runtime(t, os.Args[0], []string{serveVariable + "=1", "AWS_LAMBDA_LOG_FORMAT=JSON", "AWS_LAMBDA_LOG_LEVEL=INFO"}, in...)
	var out []map[string]any
	for _, l := range strings.Split(strings.TrimSpace(log), "\n") {
		var line map[string]any
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			// The runtime's own last word, when there is nothing more to invoke.
			if len(out) == len(in) {
				break
			}
			t.Fatalf("%q: %v", l, err)
		}
		out = append(out, line)
	}
	return out
}

// TestLog: every invocation leaves one line, which tells which part of which run it was and how it ended.
func TestLog(t *testing.T) {
	of := func(op, state string, retries int, sections string) string {
		return fmt.Sprintf(`{"op":%q,"state":%q,"retries":%d,"run":{"id":"shop-drill-20261120020000-9f3c","mode":"drill","plan":{"name":"shop"}%s}}`, op, state, retries, sections)
	}
	cases := []struct {
		payload string
		want    string
	}{
		{of("ok", "AssessCluster", 0, ""), "INFO answered request-1 run=shop-drill-20261120020000-9f3c plan=shop mode=drill state=AssessCluster op=ok tier=<nil> attempt=1 phase=Assessed code=<nil> class=<nil>"},
		{of("ok", "AwaitVolumeAttachmentSync", 2, ""), "INFO answered request-2 run=shop-drill-20261120020000-9f3c plan=shop mode=drill state=AwaitVolumeAttachmentSync op=ok tier=VolumeAttachmentSync attempt=3 phase=Assessed code=<nil> class=<nil>"},
		{of("fault", "ControlPlaneReconcile", 0, `,"volumesync":{"phase":"Failed"}`), "ERROR failed request-3 run=shop-drill-20261120020000-9f3c plan=shop mode=drill state=ControlPlaneReconcile op=fault tier=ControlPlaneReconcile attempt=1 phase=<nil> code=SchedulingImpossible class=Demote"},
		{of("wrapped", "ApplicationGate", 0, `,"volumesync":{},"controlplane":{},"degraded":{}`), "WARN failed request-4 run=shop-drill-20261120020000-9f3c plan=shop mode=drill state=ApplicationGate op=wrapped tier=DegradedStatefulSet attempt=1 phase=<nil> code=Throttled class=Retry"},
		{`{"source":"aws.states"}`, "INFO answered request-5 run=<nil> plan=<nil> mode=<nil> state=<nil> op=<nil> tier=<nil> attempt=<nil> phase=<nil> code=<nil> class=<nil>"},
		{`not JSON`, "ERROR failed request-6 run=<nil> plan=<nil> mode=<nil> state=<nil> op=<nil> tier=<nil> attempt=<nil> phase=<nil> code=InputInvalid class=Abort"},
		{of("panic", "S", 0, ""), "ERROR failed request-7 run=shop-drill-20261120020000-9f3c plan=shop mode=drill state=S op=panic tier=<nil> attempt=1 phase=<nil> code=Internal class=Dirty"},
	}
	var in []string
	for _, c := range cases {
		in = append(in, c.payload)
	}
	lines := logLines(t, in...)
	if len(lines) != len(cases) {
		t.Fatalf("%d lines, expected %d: %v", len(lines), len(cases), lines)
	}
	for i, l := range lines {
		got := fmt.Sprintf("%v %v %v", l["level"], l["message"], l["requestId"])
		for _, k := range []string{"run", "plan", "mode", "state", "op", "tier", "attempt", "phase", "code", "class"} {
			got += fmt.Sprintf(" %s=%v", k, l[k])
		}
		if got != cases[i].want {
			t.Errorf("%s\nlogged %s\nwant   %s", cases[i].payload, got, cases[i].want)
		}
		if at, err := time.Parse(time.RFC3339, fmt.Sprint(l["timestamp"])); err != nil || at.IsZero() {
			t.Errorf("timestamp %v: %v", l["timestamp"], err)
		}
		if _, ok := l["durationMs"].(float64); !ok {
			t.Errorf("durationMs is %v", l["durationMs"])
		}
	}
	if s := fmt.Sprint(lines[6]["error"]); !strings.Contains(s, "assignment to entry in nil map") || !strings.Contains(s, "goroutine") {
		t.Errorf("the panic is logged as %s", s)
	}
}
