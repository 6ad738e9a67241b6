package intake

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

const machine = "arn:aws:states:eu-central-1:123456789012:stateMachine:fallback-chain"

// machines is Step Functions as far as intake sees it: a name is taken once.
type machines struct {
	inputs map[string]string
	calls  int
	err    error
}

func (m *machines) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	m.calls++
	if m.err != nil {
		return nil, m.err
	}
	name := aws.ToString(in.Name)
	if before, ok := m.inputs[name]; ok && before != aws.ToString(in.Input) {
		return nil, &types.ExecutionAlreadyExists{Message: aws.String("Execution Already Exists")}
	}
	m.inputs[name] = aws.ToString(in.Input)
	return &sfn.StartExecutionOutput{ExecutionArn: aws.String("arn:aws:states:eu-central-1:123456789012:execution:fallback-chain:" + name)}, nil
}

type janitors struct {
	got []events.Janitor
	err error
}

func (j *janitors) Request(_ context.Context, e events.Janitor) error {
	j.got = append(j.got, e)
	return j.err
}

type fixture struct {
	*Handler
	machines *machines
	janitors *janitors
	now      time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	reg, err := events.Default(machine)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{machines: &machines{inputs: map[string]string{}}, janitors: &janitors{}, now: time.Date(2026, 11, 20, 2, 5, 0, 0, time.UTC)}
	f.Handler = &Handler{Events: reg, Executions: f.machines, Janitor: f.janitors, MachineARN: machine,
		Now: func() time.Time { f.now = f.now.Add(time.Second); return f.now }}
	return f
}

func sample(t *testing.T, name string) json.RawMessage {
	t.Helper()
	b, err := os.ReadFile("../../events/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStartsOnce(t *testing.T) {
	for _, name := range []string{"alarm-health-check.json", "scheduler-drill.json", "scheduler-evaluate.json", "manual-drill.json"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			first, err := f.Handle(t.Context(), sample(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if first.Action != Started || !strings.HasSuffix(first.ExecutionARN, ":"+first.RunID) {
				t.Fatalf("first delivery: %+v", first)
			}
			again, err := f.Handle(t.Context(), sample(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if again.RunID != first.RunID || len(f.machines.inputs) != 1 || f.machines.calls != 2 {
				t.Errorf("second delivery: %+v, %d executions, %d calls", again, len(f.machines.inputs), f.machines.calls)
			}
			// A manual input carries its own start, so its second delivery is idempotent for Step Functions too.
			if want := map[bool]Action{true: Started, false: AlreadyStarted}[name == "manual-drill.json"]; again.Action != want {
				t.Errorf("second delivery: %s, want %s", again.Action, want)
			}
		})
	}
}

// TestInputIsTheWholeSkeleton compares the execution's input byte for byte.
func TestInputIsTheWholeSkeleton(t *testing.T) {
	f := newFixture(t)
	r, err := f.Handle(t.Context(), sample(t, "scheduler-drill.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"shop-drill-20261120020000-588b","mode":"drill","trigger":{"kind":"schedule",` +
		`"id":"arn:aws:scheduler:eu-central-1:123456789012:schedule/fallback/shop-drill","at":"2026-11-20T02:00:00Z"},` +
		`"plan":{"name":"shop","uri":"s3://fallback-plans/shop.yaml"},"startedAt":"2026-11-20T02:05:01Z","demotions":{},"faults":{}}`
	if got := f.machines.inputs[r.RunID]; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPassesToJanitorOrIgnores(t *testing.T) {
	for name, want := range map[string]Action{
		"execution-timed-out.json": Passed, "execution-aborted.json": Passed, "execution-failed-runtime.json": Passed,
		"execution-failed-by-graph.json": Ignored, "execution-succeeded-sample.json": Ignored,
		"alarm-health-check-ok.json": Ignored, "alarm-metric.json": Ignored, "instance-state-change.json": Ignored,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			r, err := f.Handle(t.Context(), sample(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if r.Action != want || r.Reason == "" || f.machines.calls != 0 || (len(f.janitors.got) == 1) != (want == Passed) {
				t.Errorf("%+v, %d starts, janitor got %v; want %s", r, f.machines.calls, f.janitors.got, want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, sample string
		payload      string
		machine, jan error
		want         fault.Code
		text         string
	}{
		{name: "bad input names all its fields", payload: `{"source":"fallbackchain.scheduler","detail-type":"Scheduled Run","detail":{"mode":"recover"}}`,
			want: fault.InputInvalid, text: "detail.plan is missing"},
		{name: "alarm without a plan", sample: "alarm-health-check-bare.json", want: fault.InputInvalid, text: "plan is missing"},
		{name: "dry run", payload: `{"id":"shop-drill-20261120091500-77aa","mode":"drill","dryRun":true,"trigger":{"kind":"manual","at":"2026-11-20T09:15:00Z"},
			"plan":{"name":"shop","uri":"x"},"startedAt":"2026-11-20T09:15:00Z","demotions":{},"faults":{}}`, want: fault.InputInvalid, text: "dryRun"},
		{name: "throttled", sample: "scheduler-drill.json", machine: &smithy.GenericAPIError{Code: "ThrottlingException"}, want: fault.Throttled, text: "shop-drill-2026"},
		{name: "too many executions", sample: "scheduler-drill.json", machine: &types.ExecutionLimitExceeded{}, want: fault.Throttled, text: "start execution"},
		{name: "machine gone", sample: "scheduler-drill.json", machine: &types.StateMachineDoesNotExist{}, want: fault.InputInvalid, text: "start execution"},
		{name: "not allowed", sample: "scheduler-drill.json", machine: &smithy.GenericAPIError{Code: "AccessDeniedException"}, want: fault.PermissionDenied, text: "start execution"},
		{name: "no answer", sample: "scheduler-drill.json", machine: errors.New("connection refused"), want: fault.Unavailable, text: "connection refused"},
		{name: "janitor cannot be asked", sample: "execution-timed-out.json", jan: &smithy.GenericAPIError{Code: "TooManyRequestsException"}, want: fault.Throttled, text: "janitor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.machines.err, f.janitors.err = c.machine, c.jan
			payload := json.RawMessage(c.payload)
			if c.sample != "" {
				payload = sample(t, c.sample)
			}
			_, err := f.Handle(t.Context(), payload)
			if fa := fault.From(err); fa == nil || fa.Code != c.want || !strings.Contains(fa.Error(), c.text) {
				t.Errorf("%v, want %s naming %q", err, c.want, c.text)
			}
		})
	}
}

// TestModesAreAdmitsBusiness: a mode that this version cannot run is refused by the machine, where it is seen, not here.
func TestModesAreAdmitsBusiness(t *testing.T) {
	f := newFixture(t)
	r, err := f.Handle(t.Context(), sample(t, "manual-failover.json"))
	if err != nil || r.Action != Started {
		t.Fatalf("%+v, %v", r, err)
	}
	var in run.Run
	if err := json.Unmarshal([]byte(f.machines.inputs[r.RunID]), &in); err != nil || in.Mode != run.Failover {
		t.Errorf("%+v, %v", in, err)
	}
}
