package view

import (
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

func TestSummary(t *testing.T) {
	start := time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)
	passed, beat, completed := start.Add(42*time.Second), start.Add(-1500*time.Millisecond), start.Add(-3*time.Hour)
	lost, yes, no := int64(1500), true, false
	gate := func(proved bool) *run.Gate {
		return &run.Gate{Phase: run.Passed, Server: "PostgreSQL 15.18", PassedAt: &passed, DataProved: proved, Checks: []run.Check{{Name: "orders", OK: true}}}
	}
	trigger, recovered := run.Trigger{At: start}, &run.OutcomeSection{Name: run.Recovered}
	measured := gate(true)
	measured.HeartbeatAt, measured.HeartbeatPod, measured.RPOMS = &beat, "pg-0", &lost
	for name, c := range map[string]struct {
		run  run.Run
		want []string
		not  []string
	}{
		"objectives, met and missed": {
			run.Run{Trigger: trigger, Outcome: recovered, Gate: measured, Report: &run.Report{HTML: "report.html",
				RTO: &run.Verdict{MeasuredMS: 42_000, ObjectiveMS: 30_000, Met: &no, From: "from detection to the gate"},
				RPO: &run.Verdict{MeasuredMS: 1500, ObjectiveMS: 5000, Met: &yes, From: "measured in the data: age of the newest heartbeat, read from pg-0"}}},
			[]string{"Verdict  Recovered\n", "RTO      42.00s from detection to the gate; objective 30s: missed\n",
				"RPO      1.50s measured in the data: age of the newest heartbeat, read from pg-0; objective 5s: met\n"},
			[]string{"nothing proved"}},
		"no report was written": {
			run.Run{Trigger: trigger, Outcome: recovered, Gate: measured},
			[]string{"RTO      42.00s from detection to the gate\n", "RPO      1.50s measured in the data"}, []string{"objective"}},
		"nothing proved the data": {
			run.Run{Trigger: trigger, Outcome: recovered, Gate: gate(false)}, []string{"Verdict  Recovered, but nothing proved the data"}, []string{"RPO"}},
		"a backup without a heartbeat": {
			run.Run{Trigger: trigger, Outcome: recovered, Gate: gate(true), Restore: &run.Restore{},
				Backup:    &run.Backup{Phase: run.Verified, Name: "b1", Integrity: "True", CompletedAt: &completed, Passed: []string{"b2: ends early"}},
				Rehearsal: &run.Rehearsal{Findings: []run.Finding{{Severity: run.Stop, Subject: "StorageClass gp3", Problem: "there is none"}, {Severity: run.Warning, Subject: "quiet"}}}},
			[]string{"Backup   b1, integrity True\n", "RPO      3h0m0s age of the backup b1, not measured in the data\n", "Note     would stop a restore: StorageClass gp3: there is none\n",
				"Note     backups that did not verify were passed over: 1\n"}, []string{"quiet"}},
		"no backup verified": {
			run.Run{Trigger: trigger, Outcome: &run.OutcomeSection{Name: run.Aborted}, Backup: &run.Backup{Phase: run.Failed, Reason: "NoneVerified", Message: "3 were read"}},
			[]string{"Note     no backup verified: NoneVerified 3 were read\n"}, []string{"RTO", "RPO", "nothing proved"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			Summary(&b, "/var/lib/fallback", c.run, string(c.run.Outcome.Name), "", "", "")
			for _, w := range c.want {
				if !strings.Contains(b.String(), w) {
					t.Errorf("it does not say %q:\n%s", w, b.String())
				}
			}
			for _, n := range c.not {
				if strings.Contains(b.String(), n) {
					t.Errorf("it says %q:\n%s", n, b.String())
				}
			}
		})
	}
}
