package machine_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/functions/intake"
	"fallbackchain.io/fallback/functions/janitor/awsio"
	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/run"
)

// throttledAndExpired: Lambda refuses an invocation, and every token of the functions expires while they run.
func (b *bed) throttledAndExpired(t *testing.T) {
	b.meets(t, run.Evaluate, "admit", "admit", awstest.Throttled)
	b.on(t, run.Evaluate, "assess", "assess", func(run.Run) awstest.Mishap { b.webhook.Expire(); return awstest.None })
	execution := b.startByHand(t, run.Evaluate)
	b.ends(t, execution, "Evaluated")
	refused := 0
	for _, r := range b.webhook.Reviews() {
		if strings.Contains(r.Refused, "expired") {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no token was refused: nothing was shown")
	}
	if !slices.Contains(b.events(t, execution), "LambdaFunctionFailed Lambda.TooManyRequestsException") {
		t.Errorf("no invocation was throttled: %v", b.events(t, execution))
	}
}

// quiet waits until no function of a run works; the seal function is of none.
func (b *bed) quiet() { b.host.Quiet(stackName + "-SealFunction") }

// events are the kinds of an execution's events, with the error of a failed invocation.
func (b *bed) events(t *testing.T, execution string) (out []string) {
	t.Helper()
	h, err := b.sfn.GetExecutionHistory(t.Context(), &sfn.GetExecutionHistoryInput{ExecutionArn: aws.String(execution)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h.Events {
		kind := string(e.Type)
		if d := e.LambdaFunctionFailedEventDetails; d != nil {
			kind += " " + aws.ToString(d.Error)
		}
		out = append(out, kind)
	}
	return out
}

// killed: a function's process is killed before anything was changed.
func (b *bed) killed(t *testing.T) {
	b.meets(t, run.Drill, "rollbackpoint", "capture", awstest.Killed)
	execution := b.startByHand(t, run.Drill)
	r := b.ends(t, execution, "Aborted")
	if f := r.Faults["rollbackpoint"]; f.Error != "Runtime.ExitError" {
		t.Errorf("the report's faults are %+v", r.Faults)
	}
	b.nothingLeft(t, r.Run)
	b.tells(t, execution, r.Run, "Aborted")
}

// lost: a function made its changes and was killed before its answer arrived.
func (b *bed) lost(t *testing.T) {
	b.meets(t, run.Drill, "quarantine", "apply", awstest.Lost)
	execution := b.startByHand(t, run.Drill)
	r := b.ends(t, execution, "RolledBack")
	if len(r.Changes) == 0 {
		t.Error("the report knows of no change: nothing was shown")
	}
	b.nothingLeft(t, r.Run)
	b.tells(t, execution, r.Run, "RolledBack")
}

// dirty: what cannot be put back is named, and the lease is kept for a person.
func (b *bed) dirty(t *testing.T) {
	b.meets(t, run.Drill, "quarantine", "apply", awstest.Lost)
	b.meets(t, run.Drill, "teardown", "start", awstest.Killed)
	execution := b.startByHand(t, run.Drill)
	r := b.ends(t, execution, "Dirty")
	named := map[string]bool{}
	for _, c := range r.Changes {
		if c.PutBack != "Yes" && c.PutBack != "NotNeeded" {
			named[c.Object.Name] = true
		}
	}
	left := b.left(t, r.Run)
	if len(left) == 0 || r.Outcome != run.Dirty {
		t.Errorf("outcome %s, left %v: expected Dirty, and something", r.Outcome, left)
	}
	for _, l := range left {
		if name := l[strings.LastIndex(l, "/")+1:]; !named[name] {
			t.Errorf("%s is left, and the report does not say so: %+v", l, r.Changes)
		}
	}
	if !b.holdsLease(t, r.Run) {
		t.Error("the lease was let go")
	}
	b.clean(t, r.Run)
	b.tells(t, execution, r.Run, "Dirty")
}

// status is the event of an execution that has ended, as EventBridge sends it.
func (b *bed) status(t *testing.T, execution string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "events", "testdata", "execution-aborted.json"))
	if err != nil {
		t.Fatal(err)
	}
	var e map[string]any
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	x := b.await(t, execution)
	e["resources"] = []string{execution}
	maps.Copy(e["detail"].(map[string]any), map[string]any{"executionArn": execution, "stateMachineArn": aws.ToString(x.StateMachineArn),
		"name": aws.ToString(x.Name), "status": x.Status, "startDate": x.StartDate.UnixMilli(), "stopDate": x.StopDate.UnixMilli(),
		"input": aws.ToString(x.Input), "error": x.Error, "cause": x.Cause})
	out, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// finishes delivers the event of a dead execution, twice, and waits for the janitor, which ends the run in this outcome.
func (b *bed) finishes(t *testing.T, execution string, status types.ExecutionStatus, outcome run.Outcome) {
	t.Helper()
	if x := b.await(t, execution); x.Status != status {
		t.Fatalf("the execution is %s, want %s", x.Status, status)
	}
	b.quiet() // no function of the run works any more
	b.cloud.Ended(execution, 2*time.Minute)
	since := len(b.finished(t, execution))
	b.passes(t, execution)
	b.passes(t, execution)
	if did := b.finishedSince(t, execution, since, 2); did[0].Action != awsio.Finished || did[1].Action != awsio.AlreadyFinished || did[0].Outcome != outcome {
		t.Errorf("the janitor did %+v, want %s, then nothing", did, outcome)
	}
	r := b.report(t, idOf(execution))
	if r.FinishedBy != "janitor" || r.Outcome != outcome || (outcome == run.RolledBack) != (len(r.Changes) > 0) {
		t.Errorf("the report: finished by %q, %s, %d changes", r.FinishedBy, r.Outcome, len(r.Changes))
	}
	b.nothingLeft(t, r.Run)
	b.told(t, r.Run, string(status), aws.ToString(b.await(t, execution).Error), 2) // the event came twice
}

// passes puts the event of a dead execution on the bus and waits until intake has passed it to the janitor.
func (b *bed) passes(t *testing.T, execution string) {
	t.Helper()
	b.delivers(t, b.status(t, execution))
}

func (b *bed) delivers(t *testing.T, event []byte) {
	t.Helper()
	since := len(b.answers(t))
	b.happens(t, event)
	if passed := b.takes(t, since, 1)[0]; passed.Action != intake.Passed {
		t.Fatalf("intake: %+v", passed)
	}
}

// finished are the janitor's answers about an execution, so far.
func (b *bed) finished(t *testing.T, execution string) (out []awsio.Result) {
	t.Helper()
	for _, c := range b.host.Calls() {
		if c.Function != stackName+"-JanitorFunction" || !strings.Contains(string(c.Payload), execution) {
			continue
		}
		var res awsio.Result
		if err := json.Unmarshal(c.Answer, &res); err != nil || c.Failed {
			t.Fatalf("the janitor: %s", c.Answer)
		}
		out = append(out, res)
	}
	return out
}

// finishedSince waits until the janitor has answered so many times since an answer, and returns them.
func (b *bed) finishedSince(t *testing.T, execution string, since, n int) (out []awsio.Result) {
	t.Helper()
	b.until(t, "the janitor has answered", func() bool {
		out = b.finished(t, execution)[since:]
		return len(out) >= n
	})
	return out
}

func idOf(execution string) string { return execution[strings.LastIndex(execution, ":")+1:] }

// stopped: somebody stops the execution, and the function that was just invoked goes on.
func (b *bed) stopped(t *testing.T) {
	b.finishes(t, b.stopsIn(t, "restore", "start"), types.ExecutionStatusAborted, run.RolledBack)
}

// stopsIn starts a drill, which is stopped in a step; the step's function goes on.
func (b *bed) stopsIn(t *testing.T, function, op string) (execution string) {
	t.Helper()
	began := make(chan struct{})
	b.on(t, run.Drill, function, op, func(run.Run) awstest.Mishap {
		<-began
		b.stop(t, execution)
		return awstest.None
	})
	execution = b.startByHand(t, run.Drill)
	close(began)
	b.await(t, execution)
	return execution
}

func (b *bed) stop(t *testing.T, execution string) {
	if _, err := b.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: aws.String(execution), Cause: aws.String("by hand")}); err != nil {
		t.Error(err)
	}
}

// timedOut: the machine's own timeout ends the execution while a function works.
func (b *bed) timedOut(t *testing.T) {
	definition := b.definition(t)
	b.define(t, func(d map[string]any) { d["TimeoutSeconds"] = 5 })
	defer b.define(t, func(d map[string]any) { maps.Copy(d, definition) })
	execution := ""
	began := make(chan struct{})
	b.on(t, run.Drill, "quarantine", "apply", func(run.Run) awstest.Mishap {
		<-began
		b.await(t, execution)
		return awstest.None
	})
	execution = b.startByHand(t, run.Drill)
	close(began)
	b.finishes(t, execution, types.ExecutionStatusTimedOut, run.RolledBack)
}

func (b *bed) definition(t *testing.T) (d map[string]any) {
	t.Helper()
	out, err := b.sfn.DescribeStateMachine(t.Context(), &sfn.DescribeStateMachineInput{StateMachineArn: aws.String(b.machine)})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.Definition)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// define changes the machine's definition for the executions that begin from now on.
func (b *bed) define(t *testing.T, change func(map[string]any)) {
	t.Helper()
	d := b.definition(t)
	change(d)
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.sfn.UpdateStateMachine(t.Context(), &sfn.UpdateStateMachineInput{StateMachineArn: aws.String(b.machine), Definition: aws.String(string(text))}); err != nil {
		t.Fatal(err)
	}
}

// everyTier: the functions of two tiers are killed, and the gate after the third; every change is undone.
func (b *bed) everyTier(t *testing.T) {
	b.meets(t, run.Recover, "volumesync", "start", awstest.Killed)
	b.meets(t, run.Recover, "controlplane", "start", awstest.Killed)
	b.meets(t, run.Recover, "gate", "transaction", awstest.Killed)
	r := b.ends(t, b.startByHand(t, run.Recover), "RolledBack")
	if len(r.Changes) == 0 || r.Rollback == nil || r.Rollback.Phase != run.Undone {
		t.Errorf("the report: %d changes, rollback %+v", len(r.Changes), r.Rollback)
	}
	b.nothingLeft(t, r.Run)
	b.wantOrders(t)
}
