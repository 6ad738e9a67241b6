package scenarios

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/run"
)

func whole() map[string]int {
	return map[string]int{"pg-0": sample.Orders, "pg-1": sample.Orders, "pg-2": sample.Orders}
}

// TestRecover breaks the shop in every way that the sample knows, recovers it and counts its rows.
func TestRecover(t *testing.T) {
	w := theWorld
	for _, tc := range []struct {
		fault   string
		outcome run.Outcome
		tiers   []string
		rows    map[string]int
	}{
		{"", run.Recovered, []string{"VolumeAttachmentSync"}, whole()},
		{"attach-error", run.Recovered, []string{"VolumeAttachmentSync"}, whole()},
		{"dead-node", run.Recovered, []string{"VolumeAttachmentSync"}, whole()},
		{"csi-driver-gone", run.Recovered, []string{"ControlPlaneReconcile"}, whole()},
		{"objects-deleted", run.Recovered, []string{"VolumeAttachmentSync", "ControlPlaneReconcile"}, whole()},
		{"failed-scheduling", run.Recovered, []string{"VolumeAttachmentSync", "ControlPlaneReconcile"}, whole()},
		{"everything-gone", run.Recovered, []string{"DegradedStatefulSet"}, map[string]int{"pg-0": sample.Orders}},
		{"bad-data", run.RolledBack, []string{"VolumeAttachmentSync"}, whole()},
	} {
		name := tc.fault
		if name == "" {
			name = "nothing is broken"
		}
		t.Run(name, func(t *testing.T) {
			defer w.Reset(t)
			if tc.fault != "" {
				w.Break(t, tc.fault)
			}
			res := w.Start(t, run.Recover)
			if res.End.Outcome != tc.outcome {
				t.Errorf("outcome %s (%s), want %s", res.End.Outcome, res.End.Cause, tc.outcome)
			}
			if got := testbed.Tiers(res); !slices.Equal(got, tc.tiers) {
				t.Errorf("tiers %v, want %v", got, tc.tiers)
			}
			if got := w.Counts(t, sample.Namespace); !maps.Equal(got, tc.rows) {
				t.Errorf("rows %v, want %v", got, tc.rows)
			}
			if res.Run.Report == nil || !strings.Contains(testbed.Read(t, res.Run.Report.Markdown), string(tc.outcome)) {
				t.Error("the report does not tell the outcome")
			}
		})
	}
}
