package step

import (
	"context"
	"testing"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

type lost struct{}

func (lost) Check(context.Context) error { return fault.New(fault.LeaseLost, "check", nil) }

// TestALostLease ends a drill, which can still remove what is its own, and stops a recover for a person to look.
func TestALostLease(t *testing.T) {
	for name, tc := range map[string]struct {
		mode     run.Mode
		changer  func(*Session) *change.Changer
		wantCode fault.Code
	}{
		"recover":              {run.Recover, (*Session).Changer, fault.LeaseLost},
		"recover, own changer": {run.Recover, (*Session).OwnChanger, fault.LeaseLost},
		"drill":                {run.Drill, (*Session).Changer, fault.LeasePreempted},
		"drill, teardown":      {run.Drill, (*Session).OwnChanger, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Session{Run: run.Run{ID: "shop-drill-20261120020000-9f3c", Mode: tc.mode}, Plan: &plan.Plan{}, Cluster: &cluster.Client{},
				env: &Env{Guard: func(*cluster.Client, *plan.Plan, string) change.Guard { return lost{} }}}
			err := tc.changer(s).Guard.Check(context.Background())
			var got fault.Code
			if err != nil {
				got = fault.From(err).Code
			}
			if got != tc.wantCode {
				t.Errorf("got %v, want %q", err, tc.wantCode)
			}
		})
	}
}

func TestADrillsNamespaceComesFromItsRunIDAlone(t *testing.T) {
	s := &Session{Run: run.Run{ID: "shop-drill-20261120020000-9f3c", Mode: run.Drill}, Plan: &plan.Plan{Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop"}}}}
	if got := s.Target(); got != "drill-shop-drill-20261120020000-9f3c" {
		t.Errorf("target %s", got)
	}
}
