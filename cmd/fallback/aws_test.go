package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/run"
)

// cli runs one command as main does and returns its exit code and what it printed.
func cli(t *testing.T, args ...string) (exitCode int, stdout, stderr string) {
	t.Helper()
	var out, errw bytes.Buffer
	root := newRoot(&out, &errw)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return code(&errw, err), out.String(), errw.String()
}

// ending is a machine that ends as a run with this outcome does: the same last states, no functions.
func ending(o run.Outcome, succeeds bool) string {
	last := map[string]any{"Type": "Fail", "Error": string(o), "Cause": "because of the test"}
	if succeeds {
		last = map[string]any{"Type": "Succeed"}
	}
	b, _ := json.Marshal(map[string]any{"StartAt": "Outcome" + string(o), "States": map[string]any{
		"Outcome" + string(o): map[string]any{"Type": "Pass", "Result": map[string]any{"name": string(o)}, "ResultPath": "$.outcome", "Next": string(o)},
		string(o):             last,
	}})
	return string(b)
}

// TestAWS starts, follows, lists, shows and stops executions of a Step Functions that nobody here wrote.
func TestAWS(t *testing.T) {
	base := awstest.Start(t)
	awstest.Execute(t, base)
	t.Setenv("AWS_ENDPOINT_URL", base)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	client := sfn.NewFromConfig(awstest.Config(base))
	machine := func(name, definition string) string {
		out, err := client.CreateStateMachine(t.Context(), &sfn.CreateStateMachineInput{Name: aws.String(name), Definition: aws.String(definition),
			RoleArn: aws.String("arn:aws:iam::" + awstest.Account + ":role/fallback")})
		if err != nil {
			t.Fatal(err)
		}
		return aws.ToString(out.StateMachineArn)
	}
	const plan = "s3://fallback-plans/plans/shop.yaml"
	for _, tc := range []struct {
		mode     string
		outcome  run.Outcome
		succeeds bool
		exit     int
	}{
		{"evaluate", run.Evaluated, true, 0},
		{"drill", run.Recovered, true, 0},
		{"recover", run.RolledBack, false, 1},
		{"recover", run.Aborted, false, 1},
		{"recover", run.Dirty, false, 3},
	} {
		t.Run(string(tc.outcome), func(t *testing.T) {
			arn := machine("ends-"+string(tc.outcome), ending(tc.outcome, tc.succeeds))
			exitCode, out, errw := cli(t, tc.mode, "--aws", "--state-machine", arn, "-f", plan)
			if exitCode != tc.exit || !strings.Contains(out, "Verdict  "+string(tc.outcome)) {
				t.Fatalf("exit %d, want %d\nstdout:\n%s\nstderr:\n%s", exitCode, tc.exit, out, errw)
			}
			exitCode, out, _ = cli(t, "runs", "--aws", "--state-machine", arn, "-o", "json")
			var rows []struct{ ID string }
			if err := json.Unmarshal([]byte(out), &rows); exitCode != 0 || err != nil || len(rows) != 1 {
				t.Fatalf("runs: exit %d, %v: %s", exitCode, err, out)
			}
			if exitCode, out, _ = cli(t, "show", rows[0].ID, "--aws", "--state-machine", arn); exitCode != 0 || !strings.Contains(out, rows[0].ID) {
				t.Errorf("show: exit %d: %s", exitCode, out)
			}
		})
	}
	t.Run("a mistake is said before anything is started", func(t *testing.T) {
		arn := machine("untouched", ending(run.Evaluated, true))
		for name, tc := range map[string]struct {
			args []string
			says string
		}{
			"a plan that is a file":   {[]string{"drill", "--aws", "--state-machine", arn, "-f", "plan.yaml"}, "s3://BUCKET/KEY.yaml"},
			"a machine that is none":  {[]string{"drill", "--aws", "--state-machine", "fallback", "-f", plan}, "ARN of a state machine"},
			"a dry run":               {[]string{"drill", "--aws", "--dry-run", "--state-machine", arn, "-f", plan}, "--dry-run"},
			"a run that is not there": {[]string{"show", "shop-drill-20261120020000-9f3c", "--aws", "--state-machine", arn}, "shop-drill-20261120020000-9f3c"},
		} {
			if exitCode, _, errw := cli(t, tc.args...); exitCode != exitCouldNotRun || !strings.Contains(errw, tc.says) {
				t.Errorf("%s: exit %d, %s", name, exitCode, errw)
			}
		}
		l, err := client.ListExecutions(t.Context(), &sfn.ListExecutionsInput{StateMachineArn: aws.String(arn)})
		if err != nil || len(l.Executions) != 0 {
			t.Errorf("executions %v, %v: want none", l, err)
		}
	})
}
