package steptest

import (
	"testing"
	"time"

	"k8s.io/client-go/util/retry"

	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/plan/limits"
)

// Patient gives a plan the time that steps may need on a machine that does much else: on one that does not they end just as soon. A test of
// a budget that runs out sets that budget itself.
func Patient(p *plan.Plan) {
	const long = plan.Duration(10 * time.Minute)
	s := &p.Spec
	s.Workload.Database.StatementTimeout = plan.Duration(limits.Slice)
	s.Gate.Budget, s.Quarantine.Budget, s.Rollback.Budget = long, long, long
	s.Drill.RestoreBudget, s.Drill.TeardownBudget = long, long
	s.Tiers.VolumeAttachmentSync.Budget, s.Tiers.ControlPlaneReconcile.Budget, s.Tiers.DegradedStatefulSet.Budget = long, long, long
}

// Written repeats a test's own write while somebody else's comes between its read and its write, as controllers' do; the API server
// itself gives up a patch after five of them.
func Written(t testing.TB, write func() error) {
	t.Helper()
	if err := retry.RetryOnConflict(retry.DefaultBackoff, write); err != nil {
		t.Fatal(err)
	}
}
