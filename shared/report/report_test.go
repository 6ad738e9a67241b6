package report

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

var update = flag.Bool("update", false, "write the golden files")

var start = time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// demotedRecovery is a recover that was demoted twice and ended degraded.
func demotedRecovery() Input {
	passed := at(9000)
	sigs := signal.AllUnknown("Test", "")
	sigs[signal.CSIDriverHealthy] = signal.Signal{Status: signal.True, Reason: "Healthy", Message: "1 of 1 | node <b>"}
	return Input{
		Now: at(9500), RTO: 5 * time.Second,
		Run: run.Run{ID: "shop-recover-20261120020000-9f3c", Mode: run.Recover, StartedAt: start,
			Trigger: run.Trigger{Kind: run.Alarm, At: at(-500)}, Plan: run.PlanRef{Name: "shop", Digest: "sha256:00"},
			Admit: &run.Admit{Target: "shop"}, Assess: &run.Assess{Signals: sigs},
			VolumeSync:   &run.Tier{Phase: run.Started, Found: []string{"csi-1: attach error"}},
			ControlPlane: &run.Tier{Phase: run.Failed, Reason: "OverwriteRefused", Message: "StatefulSet shop/pg differs"},
			Degraded:     &run.Tier{Phase: run.Succeeded, Done: []string{"patched StatefulSet shop/pg"}},
			Demotions: map[string]run.Demotion{
				"VolumeAttachmentSync":  {Assess: &run.Assess{Signals: sigs}, Fault: &run.CaughtFault{Error: "SchedulingImpossible", Cause: "no node matches <script>alert(1)</script>"}},
				"ControlPlaneReconcile": {Assess: &run.Assess{Signals: sigs}}},
			Quarantine: &run.Quarantine{Phase: run.Lifted, Wanted: "Applied", Level: "Applied", Namespace: "shop"},
			Gate: &run.Gate{Phase: run.Passed, Server: "PostgreSQL 15.18", PassedAt: &passed,
				Checks: []run.Check{{Pod: "pg-0", Name: "orders", Expected: "at least 100", Got: "120", OK: true}}},
			Outcome: &run.OutcomeSection{Name: run.Recovered}},
		Entries: []journal.Entry{
			{Intent: journal.Intent{Seq: 1, At: at(100), State: "IsolateWorkload", Verb: journal.Create, Object: journal.Object{Kind: "NetworkPolicy", Namespace: "shop", Name: "q"}, Why: "close", Undo: journal.UndoDelete}, Done: &journal.Done{Seq: 1}, Undone: &journal.Undone{Seq: 1, Note: "deleted"}},
			{Intent: journal.Intent{Seq: 2, At: at(200), State: "DegradedStatefulSet", Verb: journal.Patch, Object: journal.Object{Kind: "StatefulSet", Namespace: "shop", Name: "pg"}, Why: "one replica", Undo: journal.UndoRestore}, Done: &journal.Done{Seq: 2}},
			{Intent: journal.Intent{Seq: 3, At: at(300), State: "DegradedStatefulSet", Verb: journal.Delete, Object: journal.Object{Kind: "Pod", Namespace: "shop", Name: "pg-0"}, Why: "stuck", Undo: journal.UndoNothing}},
		},
		Visits: []Visit{
			{State: "Admit", Function: "admit", Op: "admit", StartedAt: at(0), Duration: time.Millisecond, Reason: "Admitted", Next: "ByMode"},
			{State: "ByMode", StartedAt: at(1), Reason: "$.mode == recover", Next: "TakeLease"},
			{State: "VolumeAttachmentSync", Function: "volumesync", Op: "start", StartedAt: at(20), Duration: 5 * time.Millisecond, Reason: "SchedulingImpossible", Cause: "no node", Failed: true},
			{State: "AwaitControlPlaneReconcile", Function: "controlplane", Op: "await", StartedAt: at(40), Duration: 3 * time.Second, Reason: "Failed", Failed: true, Rounds: 2},
			{State: "AwaitDegradedStatefulSet", Function: "degraded", Op: "await", StartedAt: at(3100), Duration: 5 * time.Second, Reason: "Succeeded"},
			{State: "ReadOnlyTransaction", Function: "gate", Op: "transaction", StartedAt: at(8900), Duration: 100 * time.Millisecond, Reason: "Passed"},
		},
	}
}

// drillThatSaidNo is a drill whose gate refused and whose teardown is complete.
func drillThatSaidNo() Input {
	return Input{Now: at(4000), Run: run.Run{ID: "shop-drill-20261120020000-1111", Mode: run.Drill, StartedAt: start,
		Trigger: run.Trigger{Kind: run.Schedule, At: start}, Plan: run.PlanRef{Name: "shop"},
		Gate: &run.Gate{Phase: run.Refused, Reason: "ExpectationFailed", Message: "orders on pg-1: expected at least 100, got 0",
			Checks: []run.Check{{Pod: "pg-1", Name: "orders", Expected: "at least 100", Got: "0"}}},
		Restore:  &run.Restore{Namespace: "drill-x", Objects: 7, Claims: []run.Snapshot{{Claim: "data-pg-0", Name: "s", Namespace: "shop", TakenAt: start}}, LeftOut: []string{"Ingress shop: would be reached from outside"}},
		Teardown: &run.Undo{Phase: run.Undone, PutBack: []string{"Namespace drill-x: deleted"}},
		Outcome:  &run.OutcomeSection{Name: run.RolledBack}}}
}

// veleroDrill is a drill that Velero restored, of a backup without a manifest, with data movement.
func veleroDrill() Input {
	when := func(ms int) *time.Time { t := at(ms); return &t }
	lost := int64(200_000)
	passed := at(60_000)
	visit := func(state, function, op string, from, to int, reason string) Visit {
		return Visit{State: state, Function: function, Op: op, StartedAt: at(from), Duration: time.Duration(to-from) * time.Millisecond, Reason: reason}
	}
	return Input{Now: at(70_000), RTO: 10 * time.Minute, RPO: 5 * time.Minute, Run: run.Run{ID: "shop-velero-drill-20261120020000-2222", Mode: run.Drill, StartedAt: at(800),
		Trigger: run.Trigger{Kind: run.Schedule, At: start}, Plan: run.PlanRef{Name: "shop-velero"},
		Backup: &run.Backup{Phase: run.Verified, Name: "shop-20261120000000", Location: "s3://velero/eu", Chosen: "latest", StartedAt: when(-7_260_000), CompletedAt: when(-7_200_000),
			Listing: "sha256:11", Integrity: "Unknown", Objects: 42, Bytes: 3 << 20, VolumeCount: 2, Moved: 1,
			Volumes: []run.BackupVolume{{Namespace: "shop", Claim: "data-pg-0", Method: "CSISnapshot", Driver: "ebs.csi.aws.com", Size: "8Gi"},
				{Namespace: "shop", Claim: "data-pg-1", Method: "CSISnapshotWithDataMovement", Driver: "ebs.csi.aws.com", Size: "8Gi"}},
			Findings: []run.Finding{{Severity: run.Note, Subject: "backups/shop-20261120000000/fallback-manifest.json", Problem: "there is none", Means: "a changed object | is not noticed"}},
			Passed:   []string{"shop-20261120010000: backups/shop-20261120010000/shop-20261120010000.tar.gz ends early"}},
		Rehearsal: &run.Rehearsal{Phase: run.Passed, Target: "drill-x", Asked: 12, AskedIn: "default",
			Findings: []run.Finding{{Severity: run.Stop, Subject: "StorageClass gp3", Problem: "the target has none", Means: "its claims stay Pending <forever>"}}},
		Restore: &run.Restore{Phase: run.Succeeded, Namespace: "drill-x", Objects: 40,
			Claims:    []run.Snapshot{{Claim: "data-pg-0", Driver: "ebs.csi.aws.com", Handle: "snap-0123456789abcdef0", Size: "8Gi", TakenAt: at(-7_260_000)}},
			ObjectsAt: when(9000), VolumesAt: when(29_500), ReadyAt: when(41_000),
			Velero: &run.VeleroRestore{Name: "shop-velero-drill-20261120020000-2222", Backup: "shop-20261120000000", Phase: "Completed", CompletedAt: when(30_000),
				TotalItems: 40, ItemsRestored: 40, Warnings: 1, DataDownloads: 1, DataDownloadsDone: 1, Items: []string{"warning: Service shop/pg: the type was changed"}}},
		VolumeSync: &run.Tier{Phase: run.Succeeded},
		Gate: &run.Gate{Phase: run.Passed, Server: "PostgreSQL 15.18", PassedAt: &passed, DataProved: true, HeartbeatAt: when(-200_000), HeartbeatPod: "pg-1", RPOMS: &lost,
			Checks: []run.Check{{Pod: "pg-1", Name: "orders", Kind: "RowCount", Expected: "at least 100", Got: "120", OK: true}}},
		Teardown: &run.Undo{Phase: run.Undone}, Outcome: &run.OutcomeSection{Name: run.Recovered}},
		Visits: []Visit{
			visit("Admit", "admit", "admit", 800, 1000, "Admitted"), visit("ChooseRestorePoint", "backup", "choose", 1100, 3000, "Verified"),
			visit("RehearseRestore", "backup", "rehearse", 3000, 4000, "Passed"), visit("IsolateDrill", "quarantine", "apply", 4000, 5000, "Applied"),
			visit("VerifyDrillIsolation", "quarantine", "check", 5000, 6000, "Verified"), visit("RestoreIntoQuarantine", "restore", "start", 6000, 6500, "Started"),
			visit("AwaitRestore", "restore", "await", 6500, 41_200, "Succeeded"), visit("AssessCluster", "assess", "assess", 41_200, 42_000, "Assessed"),
			visit("VolumeAttachmentSync", "volumesync", "start", 42_000, 42_500, "Started"), visit("AwaitVolumeAttachmentSync", "volumesync", "await", 42_500, 43_000, "Succeeded"),
			visit("ApplicationGate", "gate", "ready", 43_000, 58_000, "Ready"), visit("ReadOnlyTransaction", "gate", "transaction", 58_000, 60_000, "Passed"),
			visit("TeardownAfterPass", "teardown", "start", 60_000, 61_000, "Started"), visit("AwaitTeardownAfterPass", "teardown", "await", 61_000, 69_000, "Undone"),
		}}
}

// TestAllItems: where the section has only some of what Velero said by item, the report names the file with all.
func TestAllItems(t *testing.T) {
	in := veleroDrill()
	in.Run.Restore.Velero.ItemCount = 212
	in.Run.Restore.Velero.Evidence = &run.Evidence{URI: "s3://journals/runs/x/evidence/restore-results.json", Digest: "sha256:22"}
	rep := Build(in)
	for name, render := range map[string]func() ([]byte, error){"json": rep.JSON, "md": rep.Markdown, "html": rep.HTML} {
		want := "all 212: s3://journals/runs/x/evidence/restore-results.json"
		if name == "json" {
			want = `"uri": "s3://journals/runs/x/evidence/restore-results.json"`
		}
		got, err := render()
		if err != nil || !strings.Contains(string(got), want) || !strings.Contains(string(got), "sha256:22") {
			t.Errorf("%s does not say %q: %v", name, want, err)
		}
	}
}

func TestGolden(t *testing.T) {
	for name, in := range map[string]Input{"demoted-recovery": demotedRecovery(), "drill-said-no": drillThatSaidNo(), "velero-drill": veleroDrill()} {
		rep := Build(in)
		for ext, render := range map[string]func() ([]byte, error){"json": rep.JSON, "md": rep.Markdown, "html": rep.HTML} {
			t.Run(name+"."+ext, func(t *testing.T) {
				got, err := render()
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", name+"."+ext)
				if *update {
					if err := os.WriteFile(path, got, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != string(want) {
					t.Errorf("%s differs from what was built; run with -update and read the diff", path)
				}
			})
		}
	}
}

func TestWhatAReaderMustKnowStandsFirst(t *testing.T) {
	md, err := Build(demotedRecovery()).Markdown()
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(md), "| |")
	for _, want := range []string{"Nothing proved the data", "enforcement is unproven", "RTO objective of 5s was missed"} {
		if !strings.Contains(first, want) {
			t.Errorf("the first lines do not say %q:\n%s", want, first)
		}
	}
}

func TestTextFromTheClusterCannotBecomeMarkup(t *testing.T) {
	page, err := Build(demotedRecovery()).HTML()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(page), "<script>") {
		t.Error("a cause from the cluster became a script")
	}
	for _, outside := range []string{"http://", "https://", "src=", "<link", "@import"} {
		if strings.Contains(string(page), outside) {
			t.Errorf("the page is not self-contained: it has %q", outside)
		}
	}
}

func TestChangesSayWhetherTheyStand(t *testing.T) {
	got := Build(demotedRecovery()).Changes
	for i, want := range []struct{ result, putBack string }{{"Made", "Yes"}, {"Made", "No"}, {"Unknown", "NotNeeded"}} {
		if got[i].Result != want.result || got[i].PutBack != want.putBack {
			t.Errorf("change %d: %s/%s, want %s/%s", i+1, got[i].Result, got[i].PutBack, want.result, want.putBack)
		}
	}
}

func TestDirectoryKeepsFilesToTheirOwner(t *testing.T) {
	d := Directory{Dir: t.TempDir()}
	uri, err := d.Put(context.Background(), "run-1", "report.json", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(uri)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := d.Put(context.Background(), "../x", "report.json", nil); err == nil {
		t.Error("a path as run ID was accepted")
	}
}
