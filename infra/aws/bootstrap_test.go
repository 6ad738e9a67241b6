package aws_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/plan"
)

// build makes a function as sam build does, for this machine's architecture.
func build(t *testing.T, logicalName string) (bootstrap string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "build-"+logicalName, "FUNCTION_ARCH="+runtime.GOARCH)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "ARTIFACTS_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make build-%s: %v\n%s", logicalName, err, out)
	}
	return filepath.Join(dir, "bootstrap")
}

const machineARN = "arn:aws:states:us-east-1:123456789012:stateMachine:fallback-chain"

func environment(moto string, more ...string) []string {
	return append([]string{"AWS_ENDPOINT_URL=" + moto, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1"}, more...)
}

// TestBootstraps starts the built functions against a Lambda runtime API on loopback, with moto as AWS.
func TestBootstraps(t *testing.T) {
	moto := awstest.Start(t)
	c := awstest.S3(t, moto, "plans", "journals", "evidence")
	text, err := os.ReadFile(filepath.Join(root, "shared", "plan", "testdata", "good", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("plans"), Key: aws.String("plans/shop.yaml"), Body: bytes.NewReader(text)}); err != nil {
		t.Fatal(err)
	}
	request := func(op, uri, digest string) string {
		b, _ := json.Marshal(map[string]any{"op": op, "state": "AssessCluster", "run": map[string]any{"id": "shop-drill-20261120020000-9f3c", "mode": "drill",
			"plan": map[string]string{"name": "shop", "uri": uri}, "admit": map[string]string{"phase": "Admitted", "planDigest": digest}}})
		return string(b)
	}
	for _, c := range []struct {
		function string
		env      []string
		calls    [][2]string // payload, and what the answer has
	}{
		{"AssessFunction", []string{"JOURNAL_BUCKET=journals"}, [][2]string{
			{`{`, `"errorType":"InputInvalid"`},
			{request("assess", "s3://plans/plans/nothing.yaml", ""), `"errorType":"PlanInvalid"`},
			{request("assess", "s3://plans/plans/shop.yaml", "sha256:0"), `"errorType":"PlanInvalid"`},
			// As admitted; and there is no such cluster.
			{request("assess", "s3://plans/plans/shop.yaml", plan.Digest(text)), `spec.cluster.eks: there is no such cluster`},
		}},
		{"IntakeFunction", []string{"STATE_MACHINE_ARN=" + machineARN, "JANITOR_FUNCTION_ARN=arn:aws:lambda:us-east-1:123456789012:function:janitor:live"}, [][2]string{
			{`{"source":"aws.ec2","detail-type":"Something"}`, `"action":"Ignored"`},
			{`{"source":"aws.states","detail-type":"Step Functions Execution Status Change"}`, `"errorType":"InputInvalid"`},
		}},
		{"JanitorFunction", []string{"JOURNAL_BUCKET=journals", "EVIDENCE_BUCKET=evidence", "STATE_MACHINE_ARN=" + machineARN}, [][2]string{
			{`{"runId":"shop-drill-20261120020000-9f3c","executionArn":"arn:other","status":"ABORTED"}`, `"errorType":"InputInvalid"`},
			{`{"runId":"shop-drill-20261120020000-9f3c","executionArn":"` + strings.Replace(machineARN, "stateMachine", "execution", 1) + `:shop","status":"ABORTED"}`, `ExecutionDoesNotExist`},
		}},
	} {
		t.Run(c.function, func(t *testing.T) {
			bootstrap := build(t, c.function)
			var in []awstest.Invocation
			for _, call := range c.calls {
				in = append(in, awstest.Invocation{Payload: call[0], Left: time.Minute})
			}
			replies, log := awstest.Runtime(t, bootstrap, environment(moto, c.env...), in...)
			if len(replies) != len(in) {
				t.Fatalf("%d replies to %d invocations:\n%s", len(replies), len(in), log)
			}
			for i, call := range c.calls {
				if !strings.Contains(strings.ReplaceAll(replies[i].Body, `": "`, `":"`), call[1]) {
					t.Errorf("%s\nis answered %s\nwant %s", call[0], replies[i].Body, call[1])
				}
			}
			// Without its environment it does not start, and says all that it misses at once.
			replies, log = awstest.Runtime(t, bootstrap, environment(moto), in...)
			if len(replies) != 0 {
				t.Errorf("without its environment it answered %v", replies)
			}
			for _, v := range c.env {
				if name, _, _ := strings.Cut(v, "="); !strings.Contains(log, name+" is not set") {
					t.Errorf("the log does not say that %s is missing:\n%s", name, log)
				}
			}
		})
	}
}
