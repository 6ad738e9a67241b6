package scenarios

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// janitor finishes a run through the CLI and returns how it ended.
func (w *world) janitor(t *testing.T, state, id string) (code int, res runner.Result) {
	t.Helper()
	code, out, _ := w.cli(t, state, "janitor", id, "--output", "json")
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		t.Fatalf("janitor %s: exit code %d, and the output is no JSON: %v", id, code, err)
	}
	if res.Run.FinishedBy != "janitor" || res.Run.ID != id {
		t.Errorf("run %s, finishedBy %q", res.Run.ID, res.Run.FinishedBy)
	}
	return code, res
}

// died checks what a SIGKILL leaves: a run without an end, no process, and the lease.
func (w *world) died(t *testing.T, c *child, id string) {
	t.Helper()
	if s := load(t, c.store.Dir, id); s.End != nil || s.Alive {
		t.Fatalf("run %s: end %v, alive %t", id, s.End, s.Alive)
	}
	if got := w.holder(t); got != id {
		t.Errorf("the lease is held by %q", got)
	}
}

// clean checks that nothing of the run is left, and that the lease is free.
func (w *world) clean(t *testing.T, id string) {
	t.Helper()
	if left := w.Leftovers(t, id); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if got := w.holder(t); got != "" {
		t.Errorf("%s holds the lease", got)
	}
}

// TestKilledInATier: the process is killed after the tier's change. The next command finishes the run before it begins its own.
func TestKilledInATier(t *testing.T) {
	w := theWorld
	defer w.Reset(t)
	w.Break(t, "attach-error")
	state := t.TempDir()
	c := w.spawn(t, state, "recover", "-f", w.Sample.Plan)
	id := c.run(t)
	c.changed(t, id, "the tier's change", func(e journal.Entry) bool { return e.State == "VolumeAttachmentSync" && e.Verb == journal.Delete })
	c.kill(t)
	w.died(t, c, id)

	code, _, stderr := w.cli(t, state, "evaluate", "-f", w.Sample.Plan)
	if code != 0 || !strings.Contains(stderr, "run "+id+" died before ") || !strings.Contains(stderr, "run "+id+" ended RolledBack") {
		t.Errorf("exit code %d, stderr %s", code, stderr)
	}
	if s := load(t, state, id); s.End == nil || s.End.Outcome != run.RolledBack || s.Run.FinishedBy != "janitor" || s.Run.Report == nil {
		t.Errorf("the run stands at %+v", s)
	}
	w.clean(t, id)
	// A second janitor finds nothing to do and says so.
	code, _, stderr = w.cli(t, state, "janitor", id)
	if code != 2 || !strings.Contains(stderr, "run "+id+" has ended already (RolledBack)") {
		t.Errorf("a second janitor: exit code %d, stderr %s", code, stderr)
	}
}

// TestKilledInARestore: the process is killed when the drill's copy is there. Nothing of it stays, and production is as it was.
func TestKilledInARestore(t *testing.T) {
	w := theWorld
	before, state := w.Versions(t, sample.Namespace), t.TempDir()
	c := w.spawn(t, state, "drill", "-f", w.Sample.Plan)
	id := c.run(t)
	c.event(t, id, "RestoreIntoQuarantine", walk.Exited)
	c.kill(t)
	w.died(t, c, id)
	if len(w.Leftovers(t, id)) < 10 {
		t.Error("the drill was killed before there was anything of it")
	}

	code, res := w.janitor(t, state, id)
	if code != 1 || res.End.Outcome != run.RolledBack || res.Run.Teardown == nil || res.Run.Teardown.Phase != run.Undone {
		t.Errorf("exit code %d, outcome %s, teardown %+v", code, res.End.Outcome, res.Run.Teardown)
	}
	w.clean(t, id)
	if after := w.Versions(t, sample.Namespace); !maps.Equal(before, after) {
		t.Errorf("production was touched:\n%v\n%v", before, after)
	}
}

// TestKilledInARollback: the process is killed when the claims are gone and their successors are not there yet. The janitor goes on,
// and every row of the snapshot is back.
func TestKilledInARollback(t *testing.T) {
	w := theWorld
	defer w.Reset(t)
	w.Break(t, "bad-data")
	state := t.TempDir()
	c := w.spawn(t, state, "recover", "-f", w.Sample.Plan)
	id := c.run(t)
	c.changed(t, id, "the end of a claim", func(e journal.Entry) bool {
		return slices.Contains([]string{"Rollback", "AwaitRollback"}, e.State) && e.Verb == journal.Delete && e.Object.Kind == "PersistentVolumeClaim"
	})
	c.kill(t)
	w.died(t, c, id)

	code, res := w.janitor(t, state, id)
	if code != 1 || res.End.Outcome != run.RolledBack || res.Run.Rollback == nil || len(res.Run.Rollback.DataRestored) != sample.Replicas {
		t.Errorf("exit code %d, outcome %s, rollback %+v", code, res.End.Outcome, res.Run.Rollback)
	}
	w.clean(t, id)
	if got := w.Counts(t, sample.Namespace); !maps.Equal(got, whole()) {
		t.Errorf("rows %v", got)
	}
}
