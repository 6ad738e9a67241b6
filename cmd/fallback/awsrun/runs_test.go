package awsrun

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// TestStartListDescribe: what was started is found again, newest first, with its state.
func TestStartListDescribe(t *testing.T) {
	g := fallbackGraph()
	e, c := newEdge(t)
	machine := create(t, c, g)
	if _, err := c.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: &machine, Name: aws.String("by-hand"), Input: aws.String("{}")}); err != nil {
		t.Fatal(err)
	}
	var arns []string
	for i, s := range []script{{"Admit": {"!PlanInvalid: no such plan"}}, heldByAlarm(), undone()} {
		e.play(s)
		arn, err := Start(t.Context(), c, machine, newRun(run.Recover, fmt.Sprintf("%04d", i)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Follow(t.Context(), c, arn, Options{Wait: quick}); err != nil {
			t.Fatal(err)
		}
		arns = append(arns, arn)
	}
	again, err := Start(t.Context(), c, machine, newRun(run.Recover, "0001"))
	if err != nil || again != arns[1] {
		t.Errorf("started again: %s, %v; want %s", again, err, arns[1])
	}
	list, err := List(t.Context(), c, machine, 2)
	if err != nil || len(list) != 2 || list[0].ID != "shop-recover-20261120091500-0002" || list[1].ID != "shop-recover-20261120091500-0001" {
		t.Errorf("list %+v, %v", list, err)
	}
	for i, want := range []Detail{
		{Summary: Summary{Status: "FAILED"}, Error: "Refused"}, {Summary: Summary{Status: "SUCCEEDED"}}, {Summary: Summary{Status: "FAILED"}, Error: "RolledBack"},
	} {
		d, err := Describe(t.Context(), c, arns[i])
		if err != nil || d.Status != want.Status || d.Error != want.Error || d.Plan != "shop" || d.Mode != run.Recover || d.EndedAt.Before(d.StartedAt) {
			t.Errorf("run %d: %+v, %v; want %+v", i, d, err, want)
		}
		switch i {
		case 0:
			if d.Run.Faults["admit"].Error != "PlanInvalid" {
				t.Errorf("the refused run's faults: %+v", d.Run.Faults)
			}
		case 1:
			if d.Run.Admit == nil || d.Run.Admit.Reason != "AlarmCleared" {
				t.Errorf("the skipped run: %+v", d.Run.Admit)
			}
		case 2:
			if d.Run.Outcome == nil || d.Run.Outcome.Name != run.RolledBack || d.Run.Rollback == nil {
				t.Errorf("the undone run: %+v %+v", d.Run.Outcome, d.Run.Rollback)
			}
		}
	}
}

// TestMistakes: each is one clear fault, and nothing is started.
func TestMistakes(t *testing.T) {
	e, c := newEdge(t)
	machine := create(t, c, fallbackGraph())
	elsewhere := strings.Replace(machine, "fallback-chain", "other", 1)
	for _, tc := range []struct {
		name string
		do   func() error
		want fault.Code
		text string
	}{
		{"input", func() error { _, err := Start(t.Context(), c, machine, run.Run{Mode: "x"}); return err }, fault.InputInvalid, "plan.uri is missing"},
		{"dry run", func() error {
			r := newRun(run.Drill, "0001")
			r.DryRun = true
			_, err := Start(t.Context(), c, machine, r)
			return err
		}, fault.InputInvalid, "dryRun"},
		{"no such machine", func() error { _, err := Start(t.Context(), c, elsewhere, newRun(run.Drill, "0001")); return err }, fault.InputInvalid, "other"},
		{"machine's ARN", func() error { _, err := ExecutionARN("arn:aws:sns:x", "shop"); return err }, fault.InputInvalid, "arn:aws:sns:x"},
		{"list of no such machine", func() error { _, err := List(t.Context(), c, elsewhere, 5); return err }, fault.InputInvalid, "other"},
		{"no such run", func() error {
			_, err := Describe(t.Context(), c, strings.Replace(machine, "stateMachine", "execution", 1)+":x")
			return err
		}, fault.InputInvalid, ":x"},
		{"stop of no such run", func() error {
			return Abort(t.Context(), c, strings.Replace(machine, "stateMachine", "execution", 1)+":x", "kim")
		}, fault.InputInvalid, ":x"},
		{"follow of no such run", func() error {
			_, err := Follow(t.Context(), c, strings.Replace(machine, "stateMachine", "execution", 1)+":x", Options{Wait: func(context.Context, time.Duration) error { return nil }})
			return err
		}, fault.InputInvalid, ":x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.do()
			if f := fault.From(err); f == nil || f.Code != tc.want || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%v, want %s naming %q", err, tc.want, tc.text)
			}
		})
	}
	if n := e.count("StartExecution"); n != 1 { // the one that moto itself refused
		t.Errorf("%d executions were asked for, want 1", n)
	}
}
