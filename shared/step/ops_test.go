package step

import (
	"context"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

func TestServe(t *testing.T) {
	opened := 0
	env := &Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { opened++; return &plan.Plan{}, nil },
		Connect:  func(context.Context, *plan.Plan) (*cluster.Client, error) { return &cluster.Client{}, nil },
		Journals: &journal.Files{Dir: t.TempDir()}, Now: time.Now,
	}
	ops := Ops[string]{
		"start": func(_ context.Context, s *Session) (string, error) { return "started in " + s.State, nil },
		"await": func(_ context.Context, s *Session) (string, error) {
			return "", fault.New(fault.Internal, "await "+s.Run.ID, nil)
		},
	}
	r := run.Run{ID: "shop-drill-20261120020000-9f3c"}
	if got, err := ops.Serve(t.Context(), env, "restore", "start", "RestoreIntoQuarantine", r); got != "started in RestoreIntoQuarantine" || err != nil {
		t.Errorf("start: %q, %v", got, err)
	}
	if _, err := ops.Serve(t.Context(), env, "restore", "await", "AwaitRestore", r); err == nil || !strings.Contains(err.Error(), "await "+r.ID) {
		t.Errorf("await: %v", err)
	}
	opened = 0
	_, err := ops.Serve(t.Context(), env, "restore", "stop", "AwaitRestore", r)
	if f := fault.From(err); f.Code != fault.Internal || !strings.Contains(f.Error(), `operation "stop": expected one of await, start`) || opened != 0 {
		t.Errorf("stop: %v after the plan was loaded %d times", err, opened)
	}
}
