package report

import (
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

func TestRPO(t *testing.T) {
	ms := func(n int64) *int64 { return &n }
	when := func(n int) *time.Time { v := at(n); return &v }
	backup := &run.Backup{Phase: run.Verified, Name: "b1", CompletedAt: when(-60_000)}
	of := func(kind, name string, n int) *run.RestorePoint {
		return &run.RestorePoint{Kind: kind, Name: name, At: at(n)}
	}
	long := &run.Backup{Phase: run.Verified, Name: "b2", StartedAt: when(-600_000), CompletedAt: when(-30_000)}
	snapshots := &run.Restore{Claims: []run.Snapshot{{Name: "new", Namespace: "shop", TakenAt: at(-1000)}, {Name: "old", Namespace: "shop", TakenAt: at(-90_000)}}}
	for name, c := range map[string]struct {
		run       run.Run
		objective time.Duration
		want      string // what, or "" for none
		measured  time.Duration
		missed    bool
	}{
		"the heartbeat, whatever the backup's age": {run.Run{Restore: snapshots, Backup: backup, Gate: &run.Gate{HeartbeatAt: when(-5000), HeartbeatPod: "pg-1", RPOMS: ms(5000)}},
			4 * time.Second, "measured in the data: age of the newest heartbeat, read from pg-1", 5 * time.Second, true},
		"met to the millisecond":                          {run.Run{Gate: &run.Gate{HeartbeatAt: when(-5000), RPOMS: ms(5000)}}, 5 * time.Second, "measured in the data", 5 * time.Second, false},
		"a workload that went on and writes again":        {run.Run{Gate: &run.Gate{HeartbeatAt: when(5000), RPOMS: ms(0)}}, time.Second, "measured in the data", 0, false},
		"a heartbeat of a negative age is no RPO":         {run.Run{Gate: &run.Gate{HeartbeatAt: when(5000), RPOMS: ms(-5000)}}, time.Second, "", 0, false},
		"the copy's own heartbeats, of a backup":          {run.Run{Backup: backup, Restore: snapshots, Gate: &run.Gate{NotMeasured: "own", RestoredFrom: of(run.OfBackup, "b1", -70_000)}}, time.Second, "age of the backup b1, not measured in the data", 70 * time.Second, true},
		"the copy's own heartbeats, of a snapshot":        {run.Run{Backup: backup, ControlPlane: &run.Tier{Phase: run.Succeeded}, Gate: &run.Gate{NotMeasured: "own", RestoredFrom: of(run.OfSnapshot, "shop/s", -80_000)}}, time.Hour, "age of the snapshot shop/s, not measured in the data", 80 * time.Second, false},
		"no heartbeat, of a snapshot in a recover":        {run.Run{Backup: backup, ControlPlane: &run.Tier{Phase: run.Succeeded}, Gate: &run.Gate{RestoredFrom: of(run.OfSnapshot, "shop/s", -80_000)}}, 0, "age of the snapshot shop/s, not measured in the data", 80 * time.Second, false},
		"heartbeats of nobody knows what":                 {run.Run{Backup: backup, ControlPlane: &run.Tier{Phase: run.Succeeded}, Gate: &run.Gate{NotMeasured: "made after the trigger"}}, time.Hour, "", 0, false},
		"a heartbeat without an age is no RPO":            {run.Run{Gate: &run.Gate{HeartbeatAt: when(-5000)}}, 0, "", 0, false},
		"a drill from a backup":                           {run.Run{Restore: snapshots, Backup: backup}, time.Second, "age of the backup b1, not measured in the data", time.Minute, true},
		"a backup that took long: counted from its start": {run.Run{Restore: snapshots, Backup: long}, time.Minute, "age of the backup b2, not measured in the data", 10 * time.Minute, true},
		"a drill from snapshots: the oldest":              {run.Run{Restore: snapshots}, 0, "age of the snapshot shop/old, not measured in the data", 90 * time.Second, false},
		"objects came back from the backup":               {run.Run{Backup: backup, ControlPlane: &run.Tier{Phase: run.Succeeded}}, 0, "age of the backup b1", time.Minute, false},
		"a recover that needed no backup":                 {run.Run{Backup: backup, VolumeSync: &run.Tier{Phase: run.Succeeded}}, 0, "", 0, false},
		"a backup that did not verify says none":          {run.Run{Backup: &run.Backup{Phase: run.Failed, Name: "b1", CompletedAt: when(0)}, ControlPlane: &run.Tier{Phase: run.Succeeded}}, 0, "", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.run.Trigger.At = start
			got := rpo(c.run, c.objective)
			if got == nil || c.want == "" {
				if (got == nil) != (c.want == "") {
					t.Errorf("got %+v, want %q", got, c.want)
				}
				return
			}
			if !strings.HasPrefix(got.What(), c.want) || got.Measured != c.measured || got.Missed() != c.missed || (got.Met == nil) != (c.objective == 0) {
				t.Errorf("%s %+v, missed %t", got.What(), got, got.Missed())
			}
			if got.InData() != strings.HasPrefix(c.want, "measured in the data") {
				t.Errorf("in the data: %t", got.InData())
			}
		})
	}
}

func TestNothingProvedTheData(t *testing.T) {
	for name, c := range map[string]struct {
		outcome run.Outcome
		gate    *run.Gate
		want    bool
	}{
		"smoke queries only":  {run.Recovered, &run.Gate{Phase: run.Passed}, true},
		"a row count":         {run.Recovered, &run.Gate{Phase: run.Passed, DataProved: true}, false},
		"no gate at all":      {run.Recovered, nil, true},
		"it did not recover":  {run.RolledBack, &run.Gate{Phase: run.Refused}, false},
		"it was an evaluate":  {run.Evaluated, nil, false},
		"it is left as it is": {run.Dirty, &run.Gate{Phase: run.Passed}, false},
	} {
		t.Run(name, func(t *testing.T) {
			rep := Build(Input{Run: run.Run{Outcome: &run.OutcomeSection{Name: c.outcome}, Gate: c.gate}})
			if got := len(rep.Remarks) > 0 && rep.Remarks[0] == NothingProved; got != c.want {
				t.Errorf("the first remark: %v", rep.Remarks)
			}
			md, err := rep.Markdown()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(strings.SplitN(string(md), "| |", 2)[0], "Nothing proved the data"); got != c.want {
				t.Errorf("the first lines:\n%s", md)
			}
		})
	}
}

func TestRemarksOfTheBackup(t *testing.T) {
	beat, lost := at(-2000), int64(2000)
	for name, c := range map[string]struct {
		run  run.Run
		want []string
	}{
		"none verified":       {run.Run{Backup: &run.Backup{Phase: run.Failed, Reason: "NoneVerified", Message: "2 backups, none whole"}}, []string{"No backup verified: NoneVerified: 2 backups, none whole"}},
		"sealed and whole":    {run.Run{Backup: &run.Backup{Phase: run.Verified, Name: "b", Integrity: "True"}}, nil},
		"not what was sealed": {run.Run{Backup: &run.Backup{Phase: run.Verified, Name: "b", Integrity: "False"}}, []string{"Backup b is not what its signed manifest says was written."}},
		"passed over":         {run.Run{Backup: &run.Backup{Phase: run.Verified, Name: "b", Integrity: "True", Passed: []string{"c: x", "d: y"}}}, []string{"2 backups were passed over before b was taken, because they did not verify."}},
		"many passed over":    {run.Run{Backup: &run.Backup{Phase: run.Verified, Name: "b", Integrity: "True", Passed: []string{"c: x", "and 119 more"}, PassedCount: 120}}, []string{"120 backups were passed over before b was taken, because they did not verify."}},
		"a rehearsal that would stop, and one that only warns": {run.Run{Rehearsal: &run.Rehearsal{Findings: []run.Finding{{Severity: run.Stop}, {Severity: run.Warning}}}},
			[]string{"The rehearsal found 1 thing that would keep a restore from succeeding."}},
		"a missed RPO": {run.Run{Trigger: run.Trigger{At: start}, Gate: &run.Gate{Phase: run.Refused, HeartbeatAt: &beat, HeartbeatPod: "pg-1", RPOMS: &lost}},
			[]string{"The RPO objective of 1s was missed: 2s, measured in the data: age of the newest heartbeat, read from pg-1."}},
		"the copy's own heartbeats": {run.Run{Trigger: run.Trigger{At: start}, Gate: &run.Gate{Phase: run.Refused, NotMeasured: "RPO not measured from the data: so", RestoredFrom: &run.RestorePoint{Kind: run.OfBackup, Name: "b", At: at(-3000)}}},
			[]string{"The RPO objective of 1s was missed: 3s, age of the backup b, not measured in the data.", "RPO not measured from the data: so. The age of what was restored stands in for it."}},
		"heartbeats of nobody knows what": {run.Run{Gate: &run.Gate{Phase: run.Refused, NotMeasured: "RPO not measured from the data: so"}},
			[]string{"RPO not measured from the data: so. How much was lost is not known."}},
		"errors, hooks and data downloads": {run.Run{Restore: &run.Restore{Velero: &run.VeleroRestore{Phase: "PartiallyFailed", Errors: 2, HooksFailed: 1, DataDownloads: 3, DataDownloadsDone: 1}}},
			[]string{"Velero's Restore ended PartiallyFailed with 2 errors and 1 failed hook.", MovementNotRun, "2 of 3 awaited DataDownloads were not done."}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(Build(Input{Run: c.run, RPO: time.Second}).Remarks, "\n"); got != strings.Join(c.want, "\n") {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestRemarkOfTheLease: a run that another one kept from the lease says which.
func TestRemarkOfTheLease(t *testing.T) {
	at := time.Unix(1, 0)
	busy := run.Lease{Phase: run.Released, Message: "run other (drill) holds the lease"}
	held := run.Lease{Phase: run.Released, AcquiredAt: &at}
	for _, c := range []struct {
		lease *run.Lease
		want  string
	}{{nil, ""}, {&held, ""}, {&busy, "The lease was not had: run other (drill) holds the lease."}} {
		rep := Build(Input{Run: run.Run{Lease: c.lease, Outcome: &run.OutcomeSection{Name: run.Aborted}}})
		if got := strings.Join(rep.Remarks, "\n"); got != c.want {
			t.Errorf("%+v: %q, want %q", c.lease, got, c.want)
		}
	}
}
