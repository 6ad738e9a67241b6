package machine_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/functions/intake"
	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/run"
)

// schedule is the input of a schedule whose time is at, as the sample event has it, for the plan in the bucket.
func (b *bed) schedule(t *testing.T, mode run.Mode, plan string, at time.Time) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "events", "testdata", "scheduler-"+string(mode)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var e map[string]any
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	e["time"] = at.UTC().Format(time.RFC3339)
	e["detail"] = map[string]any{"mode": mode, "plan": ref(plan)}
	out, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ref is a plan in the bucket.
func ref(plan string) run.PlanRef {
	return run.PlanRef{Name: plan, URI: "s3://plans/plans/" + plan + ".yaml"}
}

// manual is the input of an execution that a person starts.
func manual(t *testing.T, mode run.Mode, id string) []byte {
	t.Helper()
	now := time.Now().UTC()
	out, err := json.Marshal(run.Run{ID: id, Mode: mode, StartedAt: now, Trigger: run.Trigger{Kind: run.Manual, At: now, Requester: "kim"},
		Plan: ref("shop"), Demotions: map[string]run.Demotion{}, Faults: map[string]run.CaughtFault{}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// begin hands an event to intake and returns the execution that it started.
func (b *bed) begin(t *testing.T, event []byte) intake.Result {
	t.Helper()
	var started intake.Result
	b.invoke(t, "IntakeFunction", event, &started)
	if started.Action != intake.Started || started.ExecutionARN == "" {
		t.Fatalf("intake: %+v", started)
	}
	return started
}

// await waits until an execution has ended.
func (b *bed) await(t *testing.T, execution string) *sfn.DescribeExecutionOutput {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(4 * time.Minute)
	defer late.Stop()
	for {
		out, err := b.sfn.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: aws.String(execution)})
		if err != nil {
			t.Fatal(err)
		}
		if out.Status != types.ExecutionStatusRunning {
			return out
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("%s still runs: %v", execution, b.path(t, execution))
		}
	}
}

// path are the states that an execution entered.
func (b *bed) path(t *testing.T, execution string) (states []string) {
	t.Helper()
	p := sfn.NewGetExecutionHistoryPaginator(b.sfn, &sfn.GetExecutionHistoryInput{ExecutionArn: aws.String(execution)})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			if d := e.StateEnteredEventDetails; d != nil {
				states = append(states, aws.ToString(d.Name))
			}
		}
	}
	return states
}

// ends waits for an execution and fails the test unless it ends in this terminal state. It returns the report in S3.
func (b *bed) ends(t *testing.T, execution, terminal string) report.Report {
	t.Helper()
	out := b.await(t, execution)
	states := b.path(t, execution)
	if last(states) != terminal {
		t.Fatalf("%s ended %s in %s (%s: %s), want %s; it went %v", execution, out.Status, last(states), aws.ToString(out.Error), aws.ToString(out.Cause), terminal, states)
	}
	t.Logf("%s: %s in %s", execution[strings.LastIndex(execution, ":")+1:], last(states), out.StopDate.Sub(*out.StartDate))
	return b.report(t, execution[strings.LastIndex(execution, ":")+1:])
}

func last(states []string) string { return states[len(states)-1] }

// report reads a run's report from the evidence bucket.
func (b *bed) report(t *testing.T, id string) (out report.Report) {
	t.Helper()
	got, err := b.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("evidence"), Key: aws.String("runs/" + id + "/report.json")})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if err := json.NewDecoder(got.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	if out.Run != id {
		t.Fatalf("the report is of run %s, want %s", out.Run, id)
	}
	return out
}
