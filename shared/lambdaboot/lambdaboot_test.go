package lambdaboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// serveVariable makes the test binary a function: the tests start it again with this variable set.
const serveVariable = "LAMBDABOOT_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		Start(scripted)
		return
	}
	os.Exit(m.Run())
}

type section struct {
	Phase run.Phase `json:"phase"`
	State string    `json:"state,omitempty"`
	Text  string    `json:"text,omitempty"`
	Fn    any       `json:"fn,omitempty"`
}

// scripted does what op says.
func scripted(ctx context.Context, op, state string, r run.Run) (section, error) {
	switch op {
	case "ok":
		return section{Phase: run.Assessed, State: state + "/" + r.ID}, nil
	case "fault":
		return section{}, fault.Newf(fault.SchedulingImpossible, "schedule pod shop-0", "no node matches")
	case "wrapped":
		return section{}, fmt.Errorf("start: %w", fault.New(fault.Throttled, "list pods", nil))
	case "pointer in a join":
		return section{}, errors.Join(errors.New("first"), fault.New(fault.LeaseLost, "guard", nil))
	case "plain":
		return section{}, errors.New("no code")
	case "panic":
		var m map[string]int
		m["x"] = 1 //nolint:staticcheck // the panic is what is tested
	case "unencodable":
		return section{Fn: func() {}}, nil
	case "large":
		return section{Text: strings.Repeat("x", run.SectionLimit)}, nil
	case "long error":
		return section{}, fault.Newf(fault.NotQualified, "look", "%s", strings.Repeat("ä", 4<<10))
	case "obeys":
		<-ctx.Done()
		return section{}, ctx.Err()
	case "overstays":
		select {}
	}
	return section{}, nil
}

type invocation = awstest.Invocation

// runtimeAPI runs this test's own binary as a function.
func runtimeAPI(t *testing.T, invocations []invocation) (replies []awstest.Reply, log string) {
	t.Helper()
	return awstest.Runtime(t, os.Args[0], []string{serveVariable + "=1"}, invocations...)
}

func request(op string) string {
	return fmt.Sprintf(`{"op":%q,"state":"AssessCluster","run":{"id":"shop-drill-20261120020000-9f3c"}}`, op)
}

// TestErrorTypes checks what the state machine gets to compare: the type of each error, one process for all of them.
func TestErrorTypes(t *testing.T) {
	cases := []struct{ payload, kind, code, text string }{
		{request("ok"), "response", "", `{"phase":"Assessed","state":"AssessCluster/shop-drill-20261120020000-9f3c"}`},
		{request("fault"), "error", "SchedulingImpossible", "schedule pod shop-0: no node matches"},
		{request("wrapped"), "error", "Throttled", "list pods"},
		{request("pointer in a join"), "error", "LeaseLost", "guard"},
		{request("plain"), "error", "Internal", "no code"},
		{request("unencodable"), "error", "Internal", "encode the section"},
		{request("large"), "error", "Internal", "at most 8192"},
		{request("long error"), "error", "NotQualified", "ä…"},
		{`{"op":5}`, "error", "InputInvalid", "Request.op"},
		{`not JSON`, "error", "InputInvalid", "invalid character"},
	}
	var in []invocation
	for _, c := range cases {
		in = append(in, invocation{Payload: c.payload, Left: time.Minute})
	}
	replies, log := runtimeAPI(t, in)
	if len(replies) != len(cases) {
		t.Fatalf("%d replies to %d invocations: %s", len(replies), len(cases), log)
	}
	for i, c := range cases {
		want := fmt.Sprintf("request-%d/%s", i+1, c.kind)
		if replies[i].Path != want {
			t.Errorf("%s: posted to %s, want %s: %s", c.payload, replies[i].Path, want, replies[i].Body)
		}
		if c.kind == "error" {
			checkError(t, c.payload, replies[i].Body, c.code, c.text)
		} else if replies[i].Body != c.text {
			t.Errorf("%s: %s, want %s", c.payload, replies[i].Body, c.text)
		}
	}
}

func checkError(t *testing.T, payload, body, code, text string) {
	t.Helper()
	var e messages.InvokeResponse_Error
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("%s: %v in %s", payload, err, body)
	}
	if e.Type != code || !strings.Contains(e.Message, text) || len(e.Message) > maxMessage+8 {
		t.Errorf("%s: type %q message %q, want %q and %q", payload, e.Type, e.Message, code, text)
	}
}

// TestProcessEnds: after a panic, and after a handler that overstayed, the answer is posted and the process takes no
// further invocation, though one is waiting.
func TestProcessEnds(t *testing.T) {
	for _, c := range []struct {
		op, code, text string
		left           time.Duration
	}{
		{"panic", "Internal", "assignment to entry in nil map", time.Minute},
		{"overstays", "Unavailable", "did not return before the function's deadline", reserve},
	} {
		t.Run(c.op, func(t *testing.T) {
			replies, log := runtimeAPI(t, []invocation{{Payload: request(c.op), Left: c.left}, {Payload: request("ok"), Left: time.Minute}})
			if len(replies) != 1 {
				t.Fatalf("%d replies, want 1: %v %s", len(replies), replies, log)
			}
			if replies[0].Path != "request-1/error" {
				t.Errorf("posted to %s", replies[0].Path)
			}
			checkError(t, c.op, replies[0].Body, c.code, c.text)
		})
	}
}

// TestDeadline: a handler that obeys its context has it ended before the function's deadline, and the process lives on.
func TestDeadline(t *testing.T) {
	replies, log := runtimeAPI(t, []invocation{{Payload: request("obeys"), Left: reserve}, {Payload: request("ok"), Left: time.Minute}})
	if len(replies) != 2 || replies[0].Path != "request-1/error" || replies[1].Path != "request-2/response" {
		t.Fatalf("replies %v: %s", replies, log)
	}
	checkError(t, "obeys", replies[0].Body, "Unavailable", "the step ran out of time")
}

func TestEnvReportsEveryMistake(t *testing.T) {
	values := map[string]string{"MACHINE": "arn:aws:states:eu-central-1:123456789012:activity:x", "GOOD": "arn:aws-cn:lambda:cn-north-1:123456789012:function:janitor:7"}
	env := NewEnv(func(k string) (string, bool) { v, ok := values[k]; return v, ok })
	env.Required("BUCKET", "the evidence bucket")
	env.ARN("MACHINE", "states", "stateMachine:")
	env.ARN("OTHER", "lambda", "function:")
	if got := env.ARN("GOOD", "lambda", "function:"); got != values["GOOD"] {
		t.Errorf("ARN = %q", got)
	}
	if env.Optional("NOTHING") != "" || env.Optional("GOOD") != values["GOOD"] {
		t.Error("Optional reads what is there, and takes nothing amiss")
	}
	err := env.Err()
	if err == nil {
		t.Fatal("want an error")
	}
	for _, want := range []string{"BUCKET is not set", "MACHINE is \"arn:aws:states", "OTHER is not set"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "GOOD") || strings.Contains(err.Error(), "NOTHING") {
		t.Errorf("%q names what is right", err)
	}
}
