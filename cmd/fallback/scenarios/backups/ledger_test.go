package backups

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// TestLedger drills a backup of a MariaDB server.
func TestLedger(t *testing.T) {
	w := theWorld
	o := sample.Options{Kubeconfig: w.Stack.Kubeconfig(), StackDir: w.Stack.Layout().Dir, Dir: filepath.Join(w.Dir, "ledger")}
	d, err := sample.DeployLedger(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sample.RemoveLedger(bounded(t), w.Client, o); err != nil {
			t.Error(err)
		}
	})
	exec := func(statement string) {
		t.Helper()
		if _, err := sample.ExecLedger(t.Context(), w.Client, sample.LedgerNamespace, sample.LedgerPod(0), statement); err != nil {
			t.Fatal(err)
		}
	}
	count := func(namespace string) map[string]int {
		t.Helper()
		n, err := sample.LedgerCounts(t.Context(), w.Client, namespace)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	exec("INSERT INTO entries SELECT id + 5000, account, amount_cents, booked_at FROM entries WHERE id <= 7")
	beat := time.Now().UTC().Truncate(time.Millisecond)
	if err := sample.BeatLedger(t.Context(), w.Client, sample.LedgerNamespace, beat); err != nil {
		t.Fatal(err)
	}
	want := count(sample.LedgerNamespace)
	const name = "ledger-one"
	if _, err := sample.BackupLedger(t.Context(), w.Client, name); err != nil {
		t.Fatal(err)
	}
	w.sealBy(t, d.Plan, name)
	exec("DELETE FROM entries WHERE id > 10") // what happens after the backup is not in it

	w.settle(t, sample.LedgerNamespace)
	production, around := w.Versions(t, sample.LedgerNamespace), w.surroundings(t)
	var rows map[string]int
	res := w.Start(t, run.Drill, testbed.Plan(d.Plan), testbed.At(walk.Entered, "TeardownAfterPass", func() {
		if all := w.drills(t); len(all) == 1 {
			rows = count(all[0])
		}
	}))
	if res.End.Outcome != run.Recovered {
		t.Fatalf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	if !maps.Equal(rows, want) || rows[sample.LedgerPod(0)] != sample.LedgerEntries+7 {
		t.Errorf("rows %v, want %v", rows, want)
	}
	if b := res.Run.Backup; b.Name != name || b.Integrity != "True" {
		t.Errorf("backup %+v, want %s", b, name)
	}
	if g := res.Run.Gate; !g.DataProved || g.HeartbeatAt == nil || !g.HeartbeatAt.Equal(beat) {
		t.Errorf("gate %+v, want the heartbeat %s", g, beat)
	}
	if after := w.Versions(t, sample.LedgerNamespace); !maps.Equal(production, after) {
		t.Errorf("production was touched:\n%s", difference(flat(production), flat(after)))
	}
	if after := w.surroundings(t); !slices.Equal(around, after) {
		t.Errorf("something is left, or is gone:\n%s", difference(around, after))
	}
	if left := w.Leftovers(t, res.Run.ID); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
