package awsio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/functions/admit"
	"fallbackchain.io/fallback/shared/fault"
)

const alarmARN = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:shop:unhealthy"

type describer struct {
	out *cloudwatch.DescribeAlarmsOutput
	err error
	in  *cloudwatch.DescribeAlarmsInput
	opt cloudwatch.Options
}

func (d *describer) DescribeAlarms(_ context.Context, in *cloudwatch.DescribeAlarmsInput, o ...func(*cloudwatch.Options)) (*cloudwatch.DescribeAlarmsOutput, error) {
	d.in = in
	for _, f := range o {
		f(&d.opt)
	}
	return d.out, d.err
}

func TestAlarmState(t *testing.T) {
	metric := func(arn string, v cwtypes.StateValue) *cloudwatch.DescribeAlarmsOutput {
		return &cloudwatch.DescribeAlarmsOutput{MetricAlarms: []cwtypes.MetricAlarm{{AlarmArn: &arn, StateValue: v}}}
	}
	for _, c := range []struct {
		name string
		out  *cloudwatch.DescribeAlarmsOutput
		err  error
		want admit.AlarmState
		code fault.Code
	}{
		{name: "metric alarm", out: metric(alarmARN, cwtypes.StateValueAlarm), want: admit.StateAlarm},
		{name: "composite alarm", out: &cloudwatch.DescribeAlarmsOutput{CompositeAlarms: []cwtypes.CompositeAlarm{{AlarmArn: aws.String(alarmARN), StateValue: cwtypes.StateValueOk}}}, code: fault.InputInvalid},
		{name: "another alarm of that name", out: metric(strings.Replace(alarmARN, "us-east-1", "us-west-2", 1), cwtypes.StateValueOk), code: fault.InputInvalid},
		{name: "deleted", out: &cloudwatch.DescribeAlarmsOutput{}, code: fault.InputInvalid},
		{name: "throttled", err: &smithy.GenericAPIError{Code: "Throttling"}, code: fault.Throttled},
		{name: "not allowed", err: &smithy.GenericAPIError{Code: "AccessDenied"}, code: fault.PermissionDenied},
		{name: "no answer", err: errors.New("refused"), code: fault.Unavailable},
		{name: "a state nobody knows", out: metric(alarmARN, "MAYBE"), code: fault.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &describer{out: c.out, err: c.err}
			got, err := Alarms{CloudWatch: d}.State(t.Context(), alarmARN)
			if f := fault.From(err); (f == nil) != (c.code == "") || f != nil && f.Code != c.code || got != c.want {
				t.Errorf("%q, %v; want %q %q", got, err, c.want, c.code)
			}
			if d.opt.Region != "us-east-1" || !slices.Equal(d.in.AlarmTypes, []cwtypes.AlarmType{cwtypes.AlarmTypeMetricAlarm}) || d.in.AlarmNames[0] != "shop:unhealthy" {
				t.Errorf("asked %v in %q", d.in, d.opt.Region)
			}
		})
	}
	if _, err := (Alarms{}).State(t.Context(), "arn:nothing"); fault.From(err).Code != fault.InputInvalid {
		t.Errorf("malformed ARN: %v", err)
	}
}

// history is the machine's list of executions, newest first, in pages of two.
type history struct {
	list      []types.ExecutionListItem
	described map[string]*sfn.DescribeExecutionOutput
	err       error
	pages     int
}

func (h *history) ListExecutions(_ context.Context, in *sfn.ListExecutionsInput, _ ...func(*sfn.Options)) (*sfn.ListExecutionsOutput, error) {
	h.pages++
	if h.err != nil {
		return nil, h.err
	}
	from := 0
	if in.NextToken != nil {
		_, _ = fmt.Sscan(*in.NextToken, &from)
	}
	to := min(from+2, len(h.list))
	out := &sfn.ListExecutionsOutput{Executions: h.list[from:to]}
	if to < len(h.list) {
		out.NextToken = aws.String(fmt.Sprint(to))
	}
	return out, nil
}

func (h *history) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	if d := h.described[*in.ExecutionArn]; d != nil {
		return d, nil
	}
	return nil, &types.ExecutionDoesNotExist{}
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// add puts an older execution behind the others: it began at -began and ended at -ended minutes (0: it runs).
func (h *history) add(name string, s types.ExecutionStatus, began, ended int, errName, output string) {
	at := func(m int) *time.Time { t := noon.Add(-time.Duration(m) * time.Minute); return &t }
	e := types.ExecutionListItem{Name: &name, ExecutionArn: aws.String("arn:" + name), Status: s, StartDate: at(began)}
	if ended > 0 {
		e.StopDate = at(ended)
	}
	h.list = append(h.list, e)
	if h.described == nil {
		h.described = map[string]*sfn.DescribeExecutionOutput{}
	}
	h.described["arn:"+name] = &sfn.DescribeExecutionOutput{Status: s, Error: aws.String(errName), Output: aws.String(output)}
}

func TestLastChange(t *testing.T) {
	const self = "shop-recover-20261120120000-5555"
	admitted, skipped := `{"admit":{"phase":"Admitted"}}`, `{"admit":{"phase":"Skipped"}}`
	id := func(mode, at, hash string) string { return "shop-" + mode + "-20261120" + at + "-" + hash }
	for _, c := range []struct {
		name  string
		build func(*history)
		want  string
		ended time.Duration
		code  fault.Code
		pages int
	}{
		{name: "nothing yet", build: func(*history) {}, pages: 1},
		{name: "only itself", build: func(h *history) { h.add(self, types.ExecutionStatusRunning, 1, 0, "", "") }, pages: 1},
		{name: "other plans, evaluates, drills and strangers do not count", build: func(h *history) {
			h.add("cart-recover-20261120110000-1111", types.ExecutionStatusSucceeded, 60, 50, "", admitted)
			h.add(id("evaluate", "110000", "1111"), types.ExecutionStatusSucceeded, 60, 50, "", admitted)
			h.add(id("drill", "110000", "1111"), types.ExecutionStatusRunning, 60, 0, "", "")
			h.add("by-hand", types.ExecutionStatusSucceeded, 60, 50, "", admitted)
		}, pages: 2},
		{name: "the one that ended last, not the one that began last", build: func(h *history) {
			h.add(id("recover", "115000", "1111"), types.ExecutionStatusSucceeded, 10, 9, "", admitted)
			h.add(id("recover", "113000", "1111"), types.ExecutionStatusFailed, 30, 5, "RolledBack", "")
		}, want: id("recover", "113000", "1111"), ended: 5, pages: 1},
		{name: "skipped, refused and aborted changed nothing", build: func(h *history) {
			h.add(id("recover", "115900", "1111"), types.ExecutionStatusSucceeded, 9, 8, "", skipped)
			h.add(id("recover", "115800", "1111"), types.ExecutionStatusFailed, 9, 8, "Refused", "")
			h.add(id("recover", "115700", "1111"), types.ExecutionStatusFailed, 9, 8, "Aborted", "")
			h.add(id("recover", "115600", "1111"), types.ExecutionStatusSucceeded, 9, 8, "", admitted)
		}, want: id("recover", "115600", "1111"), ended: 8, pages: 2},
		{name: "a run that died may have changed something", build: func(h *history) {
			h.add(id("recover", "115000", "1111"), types.ExecutionStatusTimedOut, 10, 9, "States.Timeout", "")
		}, want: id("recover", "115000", "1111"), ended: 9, pages: 1},
		{name: "so may one whose output cannot be read", build: func(h *history) {
			h.add(id("recover", "115000", "1111"), types.ExecutionStatusSucceeded, 10, 9, "", "?")
		}, want: id("recover", "115000", "1111"), ended: 9, pages: 1},
		{name: "an earlier run that goes on comes first", build: func(h *history) {
			h.add(id("recover", "115000", "1111"), types.ExecutionStatusSucceeded, 10, 9, "", admitted)
			h.add(id("recover", "110000", "1111"), types.ExecutionStatusRunning, 60, 0, "", "")
		}, want: id("recover", "110000", "1111"), pages: 1},
		{name: "of two runs of one second the smaller ID comes first", build: func(h *history) {
			h.add(id("recover", "120000", "5554"), types.ExecutionStatusRunning, 0, 0, "", "")
		}, want: id("recover", "120000", "5554"), pages: 1},
		{name: "a later run that goes on is no reason to wait", build: func(h *history) {
			h.add(id("recover", "120000", "5556"), types.ExecutionStatusRunning, 0, 0, "", "")
			h.add(id("recover", "120100", "1111"), types.ExecutionStatusRunning, 0, 0, "", "")
		}, pages: 1},
		{name: "far back is not looked at", build: func(h *history) {
			h.add("by-hand", types.ExecutionStatusSucceeded, 60*24, 60*24, "", "")
			h.add(id("recover", "115000", "1111"), types.ExecutionStatusSucceeded, 60*24, 9, "", admitted)
			h.add(id("recover", "115000", "1112"), types.ExecutionStatusSucceeded, 60*24, 9, "", admitted)
		}, pages: 1},
		{name: "throttled", build: func(h *history) { h.err = &smithy.GenericAPIError{Code: "ThrottlingException"} }, code: fault.Throttled, pages: 1},
		{name: "cannot be described", build: func(h *history) {
			h.add(id("recover", "115000", "1111"), types.ExecutionStatusSucceeded, 10, 9, "", admitted)
			h.described = nil
		}, code: fault.InputInvalid, pages: 1},
		{name: "more than it looks through", build: func(h *history) {
			for range 2*maxPages + 1 {
				h.add("by-hand", types.ExecutionStatusSucceeded, 9, 8, "", "")
			}
		}, code: fault.InputInvalid, pages: maxPages},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &history{}
			c.build(h)
			got, err := Runs{Executions: h, MachineARN: "arn:machine"}.LastChange(t.Context(), "shop", self, noon.Add(-time.Hour))
			if f := fault.From(err); (f == nil) != (c.code == "") || f != nil && f.Code != c.code {
				t.Fatalf("error %v, want %q", err, c.code)
			}
			var want *admit.Change
			if c.want != "" {
				want = &admit.Change{RunID: c.want}
				if c.ended > 0 {
					want.EndedAt = noon.Add(-c.ended * time.Minute)
				}
			}
			if a, b := text(t, got), text(t, want); a != b {
				t.Errorf("got %s, want %s", a, b)
			}
			if h.pages != c.pages {
				t.Errorf("%d pages, want %d", h.pages, c.pages)
			}
		})
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
