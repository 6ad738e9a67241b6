package aws_test

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
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
)

const (
	region     = "eu-central-1" // that of the sample events
	machineARN = "arn:aws:states:" + region + ":123456789012:stateMachine:fallback-chain"
	runID      = "shop-drill-20261120091500-77aa"
)

// environment is what Lambda gives every function, with moto for AWS.
func environment(moto string, more ...string) []string {
	return append([]string{"AWS_ENDPOINT_URL=" + moto, "AWS_REGION=" + region, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_LAMBDA_LOG_FORMAT=JSON"}, more...)
}

// call is an invocation and what the answer has: a part of the section, or the error's type and a part of its message.
type call struct {
	payload, want string
	code          fault.Code
}

// world is what the functions work on: a plan, one execution that has begun, and a janitor that takes requests.
type world struct {
	moto, janitor string
	// text is the plan's.
	text []byte
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{moto: awstest.Start(t)}
	cfg := awstest.Config(w.moto)
	cfg.Region = region
	c := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	for _, b := range []string{"plans", "journals", "evidence"} {
		if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(b), CreateBucketConfiguration: awstest.Located(region)}); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.text, err = os.ReadFile(filepath.Join(root, "shared", "plan", "testdata", "good", "full.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("plans"), Key: aws.String("plans/shop.yaml"), Body: strings.NewReader(string(w.text))}); err != nil {
		t.Fatal(err)
	}
	machines := sfn.NewFromConfig(cfg)
	made, err := machines.CreateStateMachine(t.Context(), &sfn.CreateStateMachineInput{Name: aws.String("fallback-chain"), RoleArn: aws.String("arn:aws:iam::123456789012:role/machine"),
		Definition: aws.String(`{"StartAt":"Admit","States":{"Admit":{"Type":"Succeed"}}}`)})
	if err != nil || aws.ToString(made.StateMachineArn) != machineARN {
		t.Fatalf("%v, %v", made, err)
	}
	if _, err := machines.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: made.StateMachineArn, Name: aws.String(runID), Input: aws.String("{}")}); err != nil {
		t.Fatal(err)
	}
	w.janitor = awstest.Accepting(t)
	return w
}

// request is a task's input.
func (w world) request(op, mode, uri, digest string) string {
	b, _ := json.Marshal(map[string]any{"op": op, "state": "State", "execution": runID, "run": map[string]any{"id": runID, "mode": mode, "startedAt": "2026-11-20T09:15:00Z",
		"trigger": map[string]string{"kind": "manual", "at": "2026-11-20T09:15:00Z"}, "plan": map[string]string{"name": "shop", "uri": uri},
		"admit": map[string]string{"phase": "Admitted", "planDigest": digest}, "outcome": map[string]string{"name": "Aborted"}}})
	return string(b)
}

// clustered are the calls of a function that works in a cluster: as far as it gets in an account that has none.
func (w world) clustered(op, mode string) []call {
	return []call{
		{`{`, "unexpected end", fault.InputInvalid},
		{w.request(op, mode, "s3://plans/plans/nothing.yaml", ""), "nothing.yaml", fault.PlanInvalid},
		{w.request(op, mode, "s3://plans/plans/shop.yaml", "sha256:0"), "that of the plan that was admitted", fault.PlanInvalid},
		{w.request(op, mode, "s3://plans/plans/shop.yaml", plan.Digest(w.text)), "spec.cluster.eks: there is no such cluster", fault.PlanInvalid},
	}
}

// TestBootstraps starts every function of the template as it is deployed, but for this machine's architecture, against a Lambda runtime API
// on loopback, with moto as AWS.
func TestBootstraps(t *testing.T) {
	w := newWorld(t)
	inventory := []string{"JOURNAL_BUCKET=journals"}
	machine := "STATE_MACHINE_ARN=" + machineARN
	janitorARN := "arn:aws:lambda:" + region + ":123456789012:function:janitor:live"
	rollback := w.request("start", "recover", "s3://plans/plans/shop.yaml", plan.Digest(w.text))
	report := w.request("report", "drill", "s3://plans/plans/shop.yaml", plan.Digest(w.text))
	execution := strings.Replace(machineARN, "stateMachine", "execution", 1)
	cases := map[string]struct {
		env   []string
		calls []call
	}{
		"AssessFunction":       {inventory, w.clustered("assess", "recover")},
		"BackupFunction":       {inventory, w.clustered("choose", "drill")},
		"ControlplaneFunction": {inventory, w.clustered("start", "recover")},
		"DegradedFunction":     {inventory, w.clustered("start", "recover")},
		"GateFunction":         {inventory, w.clustered("ready", "recover")},
		"LeaseFunction":        {inventory, w.clustered("acquire", "recover")},
		"QuarantineFunction":   {inventory, w.clustered("apply", "drill")},
		"RestoreFunction":      {inventory, w.clustered("start", "drill")},
		// Without a journal there is nothing to ask a cluster for.
		"RollbackFunction":      {inventory, []call{{`{`, "unexpected end", fault.InputInvalid}, {rollback, `"phase":"NothingToUndo"`, ""}}},
		"RollbackpointFunction": {inventory, w.clustered("capture", "recover")},
		"TeardownFunction":      {inventory, w.clustered("start", "drill")},
		"VolumesyncFunction":    {inventory, w.clustered("start", "recover")},
		"AdmitFunction":         {[]string{machine}, w.admitted(t)},
		"IntakeFunction":        {[]string{machine, "JANITOR_FUNCTION_ARN=" + janitorARN}, samples(t)},
		"SealFunction":          {[]string{"VELERO_BUCKET=velero-eu", "MANIFEST_KEY_ARN=arn:aws:kms:" + region + ":123456789012:key/11111111-1111-1111-1111-111111111111"}, sealed(t)},
		"ReportFunction": {[]string{"JOURNAL_BUCKET=journals", "EVIDENCE_BUCKET=evidence", machine}, []call{
			{`{`, "unexpected end", fault.InputInvalid},
			{report, `"json":"s3://evidence/runs/` + runID + `/report.json"`, ""},
			{report, `"phase":"Written"`, ""}, // once more, as after a lost answer
		}},
		"JanitorFunction": {[]string{"JOURNAL_BUCKET=journals", "EVIDENCE_BUCKET=evidence", machine}, []call{
			{`{"runId":"` + runID + `","executionArn":"arn:other","status":"ABORTED"}`, "expected an execution of", fault.InputInvalid},
			{`{"runId":"nothing","executionArn":"` + execution + `:nothing","status":"ABORTED"}`, "ExecutionDoesNotExist", fault.InputInvalid},
			{`{"runId":"` + runID + `","executionArn":"` + execution + `:nothing","status":"ABORTED"}`, "it was not admitted", ""},
			{`{"runId":"` + runID + `","executionArn":"` + execution + `:` + runID + `","status":"ABORTED"}`, `"action":"Ignored"`, ""},
		}},
	}
	want := slices.Sorted(maps.Keys(read(t).functions(t)))
	if have := slices.Sorted(maps.Keys(cases)); !slices.Equal(have, want) {
		t.Errorf("the test starts %v, the template has %v", have, want)
	}
	built, err := awstest.Bootstraps(t.Context(), want...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range want {
		t.Run(name, func(t *testing.T) {
			c := cases[name]
			log := answers(t, built[name], environment(w.moto, append(c.env, "AWS_ENDPOINT_URL_LAMBDA="+w.janitor)...), c.calls)
			if counted := strings.Count(log, `"Namespace":"FallbackChain"`); counted != map[bool]int{true: 1}[name == "ReportFunction"] {
				t.Errorf("it counted %d runs:\n%s", counted, log)
			}
			// Without its environment it does not start, and says all that it misses at once.
			replies, log := awstest.Runtime(t, built[name], environment(w.moto), awstest.Invocation{Payload: "{}", Left: time.Minute})
			if len(replies) != 0 {
				t.Errorf("without its environment it answered %v", replies)
			}
			for _, v := range c.env {
				if variable, _, _ := strings.Cut(v, "="); !strings.Contains(log, variable+" is not set") {
					t.Errorf("the log does not say that %s is missing:\n%s", variable, log)
				}
			}
		})
	}
}

// answers invokes a function once for each call.
func answers(t *testing.T, bootstrap string, env []string, calls []call) (log string) {
	t.Helper()
	var in []awstest.Invocation
	for _, c := range calls {
		in = append(in, awstest.Invocation{Payload: c.payload, Left: time.Minute})
	}
	replies, log := awstest.Runtime(t, bootstrap, env, in...)
	if len(replies) != len(in) {
		t.Fatalf("%d replies to %d invocations:\n%s", len(replies), len(in), log)
	}
	for i, c := range calls {
		var e struct{ ErrorType, ErrorMessage string }
		_ = json.Unmarshal([]byte(replies[i].Body), &e) // a section has neither
		got := replies[i].Body
		if strings.HasSuffix(replies[i].Path, "/error") {
			got = e.ErrorMessage
		}
		if e.ErrorType != string(c.code) || !strings.Contains(got, c.want) {
			t.Errorf("%s\nis answered %s %s\nwant %q %s", c.payload, replies[i].Path, replies[i].Body, c.code, c.want)
		}
	}
	return log
}
