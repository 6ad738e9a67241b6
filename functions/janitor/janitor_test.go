package janitor

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
)

// TestEveryStateHasAWayToEnd: wherever a run dies, the janitor names a state that exists.
func TestEveryStateHasAWayToEnd(t *testing.T) {
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range m.States {
		for _, mode := range []run.Mode{run.Evaluate, run.Recover, run.Drill} {
			from := From(s.Name, run.Run{Mode: mode})
			if _, ok := m.State(from); !ok {
				t.Errorf("%s in %s: taken up at %q, which the graph does not have", s.Name, mode, from)
			}
		}
	}
	for name := range ending {
		if _, ok := m.State(name); !ok {
			t.Errorf("ending names %q, which the graph does not have", name)
		}
	}
	for _, set := range []map[string]bool{beforeLease, beforeChange} {
		for name := range set {
			if _, ok := m.State(name); !ok {
				t.Errorf("%q is not a state of the graph", name)
			}
		}
	}
}

func TestFrom(t *testing.T) {
	for name, tc := range map[string]struct {
		next string
		run  run.Run
		want string
	}{
		"died while it was admitted":          {"Admit", run.Run{Mode: run.Recover}, "OutcomeAbortedNoLease"},
		"died while it took the lease":        {"TakeLease", run.Run{Mode: run.Recover}, "OutcomeAborted"},
		"died in a tier":                      {"AwaitVolumeAttachmentSync", run.Run{Mode: run.Recover}, "GiveUp"},
		"died while it isolated":              {"IsolateDrill", run.Run{Mode: run.Drill}, "GiveUp"},
		"died while the gate was asked":       {"ReadOnlyTransaction", run.Run{Mode: run.Recover, Gate: &run.Gate{Phase: run.Ready}}, "GiveUp"},
		"died while the quarantine is lifted": {"LiftQuarantine", run.Run{Mode: run.Recover, Gate: &run.Gate{Phase: run.Passed}}, "LiftQuarantine"},
		"died in a rollback":                  {"AwaitRollback", run.Run{Mode: run.Recover}, "AwaitRollback"},
		"died in an evaluate":                 {"AssessOnly", run.Run{Mode: run.Evaluate}, "OutcomeAbortedNoLease"},
		"died between a wait and its choice":  {"AwaitRollbackPhase", run.Run{Mode: run.Recover}, "AwaitRollbackPhase"},
		"died right after the lease":          {"TakeLeasePhase", run.Run{Mode: run.Drill}, "OutcomeAborted"},
		"died right after it was admitted":    {"AdmitPhase", run.Run{Mode: run.Recover}, "OutcomeAbortedNoLease"},
		"could not write its report":          {"ReportFailed", run.Run{Mode: run.Recover}, "Report"},
		"died in a state of a newer version":  {"SomethingNew", run.Run{Mode: run.Recover}, "GiveUp"},
		"the same after the gate had passed":  {"SomethingNew", run.Run{Mode: run.Recover, Gate: &run.Gate{Phase: run.Passed}}, "AfterGate"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := From(tc.next, tc.run); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFinishWaitsThenResumes(t *testing.T) {
	var order []string
	h := &Handler{
		Quiesce: LongestFunction,
		Sleep: func(_ context.Context, d time.Duration) error {
			order = append(order, "waited "+d.String())
			return nil
		},
		Resume: func(_ context.Context, state string, in json.RawMessage) (walk.Result, error) {
			order = append(order, "resumed at "+state)
			var r run.Run
			if err := json.Unmarshal(in, &r); err != nil {
				return walk.Result{}, err
			}
			if r.FinishedBy != "janitor" || r.ID != "shop-drill-1" {
				t.Errorf("run %+v", r)
			}
			return walk.Result{Terminal: "RolledBack"}, nil
		},
	}
	res, err := h.Finish(context.Background(), Dead{Next: "AwaitRestore", State: json.RawMessage(`{"id":"shop-drill-1","mode":"drill"}`)})
	if err != nil || res.Terminal != "RolledBack" {
		t.Fatalf("%+v, %v", res, err)
	}
	if len(order) != 2 || order[0] != "waited 1m0s" || order[1] != "resumed at GiveUp" {
		t.Errorf("order %v", order)
	}
}
