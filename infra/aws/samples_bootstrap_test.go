package aws_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/fault"
)

// sampleEvents reads the sample events whose name has the prefix, or has not, and what the parser makes of each.
func sampleEvents(t *testing.T, prefix string, has bool) (payloads, become []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "events", "testdata", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), prefix) != has {
			continue
		}
		payload, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		golden, err := os.ReadFile(strings.TrimSuffix(f, ".json") + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		what, _, _ := strings.Cut(string(golden), " ")
		payloads, become = append(payloads, string(payload)), append(become, what)
	}
	return payloads, become
}

// samples are the events that intake takes, those that start a run twice.
func samples(t *testing.T) []call {
	t.Helper()
	var out []call
	started := map[string]bool{}
	payloads, become := sampleEvents(t, "backup-", false)
	for i, p := range payloads {
		c := call{payload: p}
		switch become[i] {
		case "events.Start":
			c.want = `tarted","runId":"`
			started[p] = true
		case "events.Janitor":
			c.want = `"action":"PassedToJanitor"`
		case "events.NoOp":
			c.want = `"action":"Ignored"`
		default:
			// Of another machine, or incomplete.
			if strings.Contains(p, "aws.states") {
				c.want = `"action":"Ignored"`
			} else {
				c.code, c.want = fault.InputInvalid, "plan is missing"
			}
		}
		out = append(out, c)
	}
	// Delivered again; Step Functions takes the same name with the same input for the same execution.
	for p := range started {
		out = append(out, call{payload: p, want: `tarted","runId":"`})
	}
	return append(out, call{payload: `{"source":"aws.states","detail-type":"Step Functions Execution Status Change"}`, want: "detail", code: fault.InputInvalid})
}

// sealed are the events that seal takes; the bucket has no backup.
func sealed(t *testing.T) []call {
	t.Helper()
	var out []call
	payloads, become := sampleEvents(t, "backup-", true)
	for i, p := range payloads {
		switch become[i] {
		case "events.Backup":
			out = append(out, call{payload: p, want: `"action":"`})
		default:
			out = append(out, call{payload: p, want: `"action":"Ignored"`})
		}
	}
	return out
}

// admitted are runs as the state machine passes them to its first state: as intake made them, and as a person gave them.
func (w world) admitted(t *testing.T) []call {
	t.Helper()
	out := []call{{`{`, "unexpected end", fault.InputInvalid}}
	payloads, _ := sampleEvents(t, "manual-", true)
	for _, p := range payloads {
		// Another digest than the plan's, another bucket than ours.
		var in struct{ ID string }
		if err := json.Unmarshal([]byte(p), &in); err != nil {
			t.Fatal(err)
		}
		c := call{payload: fmt.Sprintf(`{"op":"admit","state":"Admit","execution":%q,"run":%s}`, in.ID, p), code: fault.PlanInvalid}
		if strings.Contains(p, `"failover"`) {
			c.code = fault.ModeNotSupported
		}
		out = append(out, c)
	}
	run := strings.NewReplacer(runID, "shop-recover-20261120091500-77aa", `"outcome":{"name":"Aborted"}`, `"demotions":{},"faults":{}`, `"admit":{"phase":"Admitted","planDigest":""},`, "")
	return append(out, call{payload: run.Replace(w.request("admit", "recover", "s3://plans/plans/shop.yaml", "")), want: `"phase":"Admitted"`})
}
