package history

import (
	"context"
	"slices"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/chain"
)

const (
	machineARN = "arn:aws:states:eu-central-1:123456789012:stateMachine:fallback"
	ofShop     = "arn:aws:states:eu-central-1:123456789012:execution:fallback:shop"
)

// paged answers a history in pages.
type paged struct {
	events written
	size   int
	asked  []string
	err    error
}

func (p *paged) GetExecutionHistory(_ context.Context, in *sfn.GetExecutionHistoryInput, _ ...func(*sfn.Options)) (*sfn.GetExecutionHistoryOutput, error) {
	p.asked = append(p.asked, aws.ToString(in.ExecutionArn))
	if p.err != nil {
		return nil, p.err
	}
	list := slices.Clone(p.events)
	if in.ReverseOrder {
		slices.Reverse(list)
	}
	from, _ := strconv.Atoi(aws.ToString(in.NextToken))
	to := min(from+p.size, len(list))
	out := &sfn.GetExecutionHistoryOutput{Events: list[from:to]}
	if to < len(list) {
		out.NextToken = aws.String(strconv.Itoa(to))
	}
	return out, nil
}

func TestNewest(t *testing.T) {
	for _, c := range []struct {
		name       string
		build      func(*written)
		state, run string
		pages      int
	}{
		{"nothing began", func(h *written) { h.plain(types.HistoryEventTypeExecutionStarted) }, "", "", 1},
		{"in a task, after many tries", func(h *written) {
			h.enter("Task", "Admit", `{"n":1}`)
			h.exit("Task", "Admit", `{"n":2}`)
			h.enter("Task", "TakeLease", `{"n":3}`)
			for range 7 {
				h.plain(types.HistoryEventTypeLambdaFunctionScheduled, types.HistoryEventTypeLambdaFunctionStarted, types.HistoryEventTypeLambdaFunctionTimedOut)
			}
			h.plain(types.HistoryEventTypeExecutionTimedOut)
		}, "TakeLease", `{"n":3}`, 5},
		{"between two states", func(h *written) {
			h.enter("Task", "Admit", `{"n":1}`)
			h.exit("Task", "Admit", `{"n":2}`)
			h.plain(types.HistoryEventTypeExecutionAborted)
		}, "Admit", `{"n":2}`, 1},
		{"redriven, and dead again in the same state, which was not entered again", func(h *written) {
			h.enter("Task", "Admit", `{"n":1}`)
			h.exit("Task", "Admit", `{"n":2}`)
			h.enter("Task", "TakeLease", `{"n":3}`)
			h.plain(types.HistoryEventTypeLambdaFunctionScheduled, types.HistoryEventTypeExecutionAborted, types.HistoryEventTypeExecutionRedriven)
			h.plain(types.HistoryEventTypeLambdaFunctionScheduled, types.HistoryEventTypeExecutionTimedOut)
		}, "TakeLease", `{"n":3}`, 2},
		{"redriven, and dead again further on", func(h *written) {
			h.enter("Task", "Admit", `{"n":1}`)
			h.plain(types.HistoryEventTypeExecutionAborted, types.HistoryEventTypeExecutionRedriven, types.HistoryEventTypeLambdaFunctionScheduled)
			h.exit("Task", "Admit", `{"n":2}`)
			h.enter("Task", "TakeLease", `{"n":3}`)
			h.plain(types.HistoryEventTypeExecutionAborted)
		}, "TakeLease", `{"n":3}`, 1},
		{"a truncated input does not count", func(h *written) {
			h.enter("Task", "Admit", `{"n":1}`)
			h.enter("Choice", "AdmitPhase", `{"n":`)
		}, "Admit", `{"n":1}`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &paged{size: 5}
			c.build(&p.events)
			state, doc, err := Newest(t.Context(), p, ofShop)
			if err != nil || state != c.state || string(doc) != c.run || len(p.asked) != c.pages {
				t.Errorf("%q with %s, %v after %d pages; want %q with %s after %d", state, doc, err, len(p.asked), c.state, c.run, c.pages)
			}
		})
	}
}

func TestOfRun(t *testing.T) {
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	p := &paged{size: 2}
	p.events.enter("Task", "Admit", `{}`)
	p.events.plain(types.HistoryEventTypeLambdaFunctionScheduled)
	p.events.exit("Task", "Admit", `{}`)
	p.events.enter("Task", "Report", `{}`)
	vs, err := OfRun(p, machineARN, m)(t.Context(), run.Run{ID: "shop"})
	if err != nil || len(vs) != 2 || vs[0].State != "Admit" || vs[0].Function != "admit" || vs[0].Next != "Report" || vs[1].State != "Report" || vs[1].Next != "" {
		t.Errorf("%+v, %v", vs, err)
	}
	if want := []string{ofShop, ofShop}; !slices.Equal(p.asked, want) {
		t.Errorf("asked for %v", p.asked)
	}
	p.err = &types.ExecutionDoesNotExist{}
	if _, err := OfRun(p, machineARN, m)(t.Context(), run.Run{ID: "shop"}); fault.From(err).Code != fault.InputInvalid {
		t.Errorf("an execution under another name: %v", err)
	}
	p.err = &smithy.GenericAPIError{Code: "ThrottlingException"}
	if _, err := OfRun(p, machineARN, m)(t.Context(), run.Run{ID: "shop"}); fault.From(err).Code != fault.Throttled {
		t.Errorf("throttled: %v", err)
	}
	if _, err := OfRun(p, "arn:nothing", m)(t.Context(), run.Run{ID: "shop"}); fault.From(err).Code != fault.InputInvalid {
		t.Errorf("no machine: %v", err)
	}
}

func TestExecutionARN(t *testing.T) {
	for in, want := range map[string]string{
		machineARN: ofShop, machineARN + ":7": ofShop, machineARN + ":live": ofShop,
		"arn:aws:states:eu-central-1:123456789012:activity:fallback": "", "": "",
	} {
		if got, err := ExecutionARN(in, "shop"); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}
