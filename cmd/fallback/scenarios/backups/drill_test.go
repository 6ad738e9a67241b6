package backups

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// TestDrill restores the backup beside the shop: the rows are those at the backup, and production stays as it is.
func TestDrill(t *testing.T) {
	w := theWorld
	w.backup(t)
	check := w.guard(t)
	var rows map[string]table
	res := w.Start(t, run.Drill, w.with(t), w.watched(t, &rows))
	w.proved(t, res, rows)
	check(res.Run.ID)
	w.verifies(t, w.newest)
}

// watched reads the rows of a drill's copy before it is removed.
func (w *world) watched(t *testing.T, rows *map[string]table) testbed.Option {
	return testbed.At(walk.Entered, "TeardownAfterPass", func() {
		if all := w.drills(t); len(all) == 1 {
			*rows = w.read(t, all[0])
		}
	})
}

// proved checks a drill of the newest backup that ended well.
func (w *world) proved(t *testing.T, res runner.Result, rows map[string]table) {
	t.Helper()
	if res.End.Outcome != run.Recovered {
		t.Fatalf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	if !maps.Equal(rows, w.rows) || len(rows) != sample.Replicas {
		t.Errorf("rows %v, want %v", rows, w.rows)
	}
	b, g, v := res.Run.Backup, res.Run.Gate, res.Run.Restore.Velero
	if b.Name != w.newest || b.Phase != run.Verified || b.Integrity != "True" || b.VolumeCount != sample.Replicas {
		t.Errorf("backup %+v, want %s", b, w.newest)
	}
	if v == nil || v.Backup != w.newest || v.Phase != "Completed" || v.Errors != 0 {
		t.Errorf("restore %+v", v)
	}
	if !g.DataProved || g.HeartbeatAt == nil || !g.HeartbeatAt.Equal(w.beat) {
		t.Errorf("gate %+v, want the heartbeat %s", g, w.beat)
	}
	if r := res.Run.Rehearsal; r == nil || r.Phase != run.Passed || r.Asked == 0 {
		t.Errorf("rehearsal %+v", r)
	}
	if md := testbed.Read(t, res.Run.Report.Markdown); !strings.Contains(md, w.newest) || strings.Contains(md, sample.Canary) {
		t.Error("the report does not name the backup, or holds the canary")
	}
}

// TestTwoDrills begins two at once from a backup that has been drilled before: one has the lease and proves the same rows again, the other says
// so and changes nothing.
func TestTwoDrills(t *testing.T) {
	w := theWorld
	w.backup(t)
	check := w.guard(t)
	var results [2]runner.Result
	var errs [2]error
	var rows [2]map[string]table
	var wg sync.WaitGroup
	for i := range results {
		with, watched := w.with(t), w.watched(t, &rows[i])
		wg.Go(func() { results[i], errs[i] = w.Try(t, run.Drill, with, watched) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	won := 0
	if results[0].End.Outcome != run.Recovered {
		won = 1
	}
	first, second := results[won], results[1-won]
	w.proved(t, first, rows[won])
	w.refused(t, second)
	if l := second.Run.Lease; l == nil || !strings.Contains(l.Message, first.Run.ID) {
		t.Errorf("lease %+v, want it to be held by %s", l, first.Run.ID)
	}
	if md := testbed.Read(t, second.Run.Report.Markdown); !strings.Contains(md, first.Run.ID) {
		t.Error("the report does not name the run that holds the lease")
	}
	check(first.Run.ID, second.Run.ID)
}
