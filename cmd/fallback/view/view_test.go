package view

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

var update = flag.Bool("update", false, "write the golden files")

func section(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLiveGolden shows a demoted recovery: routing states stay out, rounds share a line, a change stands before its state.
func TestLiveGolden(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	set := signal.Set{signal.CSIDriverHealthy: {Status: signal.True, Reason: "Healthy"}, signal.VolumesAttached: {Status: signal.False, Reason: "AttachError"}}
	var b strings.Builder
	l := &Live{W: &b}
	task := func(kind walk.EventKind, ms int, state string, e walk.Event) {
		e.At, e.Kind, e.State, e.Type = at(ms), kind, state, graph.Task
		l.Event(e)
	}
	choice := func(ms int, state, reason, next string) {
		l.Event(walk.Event{At: at(ms), Kind: walk.Entered, State: state, Type: graph.Choice})
		l.Event(walk.Event{At: at(ms), Kind: walk.Exited, State: state, Type: graph.Choice, Reason: reason, Next: next})
	}
	task(walk.Entered, 0, "AssessCluster", walk.Event{})
	task(walk.Exited, 40, "AssessCluster", walk.Event{Reason: "Assessed", Next: "AssessClusterPhase", Section: section(t, run.Assess{Signals: set})})
	task(walk.Exited, 40, "ChooseRestorePoint", walk.Event{Reason: "Verified", Section: section(t, run.Backup{Name: "b1", Integrity: "True", Findings: []run.Finding{{Severity: run.Note}}})})
	task(walk.Exited, 40, "AwaitRestore", walk.Event{Reason: "Succeeded", Section: section(t, run.Restore{Velero: &run.VeleroRestore{Phase: "Completed", ItemsRestored: 9, TotalItems: 9, DataDownloads: 2, DataDownloadsDone: 2}})})
	task(walk.Exited, 40, "VerifyIsolation", walk.Event{Reason: "Broken", Section: section(t, run.Quarantine{Level: "Applied", Findings: []string{"a text"}, Message: "it is open"})})
	choice(40, "AssessClusterPhase", "assess.phase is Assessed", "ChooseTier")
	choice(41, "ChooseTier", "CSI healthy", "VolumeAttachmentSync")
	task(walk.Entered, 41, "VolumeAttachmentSync", walk.Event{})
	l.Change(journal.Intent{Verb: journal.Delete, Object: journal.Object{Kind: "VolumeAttachment", Name: "csi-1"}, Why: "it carries an attach error"})
	task(walk.Retried, 60, "VolumeAttachmentSync", walk.Event{Attempt: 1, Reason: "Unavailable", Cause: "connection refused\nsecond line"})
	task(walk.Exited, 90, "VolumeAttachmentSync", walk.Event{Reason: "Started", Next: "AwaitVolumeAttachmentSync", Section: section(t, run.Tier{Done: []string{"deleted csi-1"}})})
	for i := range 2 {
		task(walk.Entered, 90+i*45000, "AwaitVolumeAttachmentSync", walk.Event{})
		reason := []string{"Running", "Failed"}[i]
		task(walk.Exited, 45090+i*45000, "AwaitVolumeAttachmentSync", walk.Event{Reason: reason, Section: section(t, run.Tier{Reason: "BudgetExceeded"})})
		choice(45090+i*45000, "AwaitVolumeAttachmentSyncPhase", reason, "AwaitVolumeAttachmentSync")
	}
	task(walk.Entered, 90100, "ReadOnlyTransaction", walk.Event{})
	task(walk.Caught, 90200, "ReadOnlyTransaction", walk.Event{Reason: "RunAborted", Cause: "gate/transaction", Next: "GiveUp"})

	const path = "testdata/live.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestPathNamesDemotionsAndTheirReasons(t *testing.T) {
	for name, tc := range map[string]struct {
		run  run.Run
		want string
	}{
		"demoted by a fault, then by a failure": {run.Run{
			VolumeSync:   &run.Tier{Phase: run.Started},
			ControlPlane: &run.Tier{Phase: run.Failed, Reason: "OverwriteRefused"},
			Degraded:     &run.Tier{Phase: run.Succeeded},
			Gate:         &run.Gate{Phase: run.Passed},
			Demotions:    map[string]run.Demotion{"VolumeAttachmentSync": {Fault: &run.CaughtFault{Error: "SchedulingImpossible"}}, "ControlPlaneReconcile": {}},
		}, "VolumeAttachmentSync ✗ SchedulingImpossible → ControlPlaneReconcile ✗ OverwriteRefused → DegradedStatefulSet ✓ → gate Passed"},
		"killed in a tier": {run.Run{VolumeSync: &run.Tier{Phase: run.Started}, Rollback: &run.Undo{Phase: run.Undone}},
			"VolumeAttachmentSync ✗ cut off → rollback Undone"},
		"no tier": {run.Run{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Path(tc.run); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
