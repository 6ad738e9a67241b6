package scenarios

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// withoutService takes a Service away, which a recover by the inventory brings back at once. It is there again when the test ends.
func (w *world) withoutService(t *testing.T) {
	t.Helper()
	services := w.Client.Dynamic.Resource(cluster.Services).Namespace(sample.Namespace)
	was, err := services.Get(t.Context(), "shop-db", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := services.Delete(t.Context(), was.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := clean(t)
		_ = services.Delete(ctx, was.GetName(), metav1.DeleteOptions{}) // a run may have made it
		if _, err := services.Create(ctx, change.Bare(was), metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// services are the names of the shop's Services.
func (w *world) services(t *testing.T) []string {
	t.Helper()
	l, err := w.Client.Dynamic.Resource(cluster.Services).Namespace(sample.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range l.Items {
		out = append(out, s.GetName())
	}
	return out
}

// noVolumes leaves the tier ControlPlaneReconcile the first.
func noVolumes(plan string) string {
	return strings.Replace(plan, "volumeAttachmentSync: {", "volumeAttachmentSync: {enabled: false, ", 1)
}

// patient makes the gate watch the pods for minutes.
func patient(plan string) string {
	return strings.Replace(plan, "gate: {stability: 2s, budget: 90s}", "gate: {stability: 5m, budget: 10m}", 1)
}

// TestAbort: a run that waits in the gate's stability window is aborted by another process, and what it changed is undone. Its
// record is shown by runs and show; resolve has no business with it.
func TestAbort(t *testing.T) {
	w := theWorld
	w.withoutService(t)
	state := t.TempDir()
	c := w.spawn(t, state, "recover", "-f", planFile(t, w, func(s string) string { return patient(noVolumes(s)) }))
	id := c.run(t)
	c.entered(t, id, "ApplicationGate")
	if !slices.Contains(w.services(t), "shop-db") {
		t.Error("the service was not brought back before the gate")
	}
	var rows []struct{ ID, Mode, Status, Outcome, Report string }
	list := func() {
		t.Helper()
		code, out, _ := w.cli(t, state, "runs", "--output", "json")
		if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 || len(rows) != 1 || rows[0].ID != id || rows[0].Mode != "recover" {
			t.Fatalf("runs: exit code %d, %v: %s", code, err, out)
		}
	}
	if list(); rows[0].Status != "Running" {
		t.Errorf("runs says %+v", rows[0])
	}
	if code, _, stderr := w.cli(t, state, "resolve", id); code != 2 || !strings.Contains(stderr, "is still running") {
		t.Errorf("resolve a running run: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := w.cli(t, state, "janitor", id); code != 2 || !strings.Contains(stderr, "another process works on this run") {
		t.Errorf("janitor of a running run: exit code %d, %s", code, stderr)
	}
	if code, out, _ := w.cli(t, state, "abort", id); code != 0 || !strings.Contains(out, "was asked to stop") {
		t.Errorf("abort: exit code %d, %s", code, out)
	}
	if code := c.code(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if s := load(t, state, id); s.End == nil || s.End.Outcome != run.RolledBack {
		t.Errorf("the run ended %+v", s.End)
	}
	if slices.Contains(w.services(t), "shop-db") {
		t.Error("what the run made is still there")
	}
	w.clean(t, id)

	if list(); rows[0].Status != "Ended" || rows[0].Outcome != "RolledBack" || rows[0].Report == "" {
		t.Errorf("runs says %+v", rows[0])
	}
	if code, out, _ := w.cli(t, state, "runs"); code != 0 || !strings.Contains(out, id) || !strings.Contains(out, "RolledBack") {
		t.Errorf("runs: exit code %d, %s", code, out)
	}
	if code, out, _ := w.cli(t, state, "show", id); code != 0 || !strings.Contains(out, id) || !strings.Contains(out, "RunAborted") {
		t.Errorf("show: exit code %d, %s", code, out)
	}
	var report map[string]any
	if code, out, _ := w.cli(t, state, "show", id, "--output", "json"); code != 0 || json.Unmarshal([]byte(out), &report) != nil {
		t.Errorf("show --output json: exit code %d, %s", code, out)
	}
	for _, tc := range []struct{ command, id, says string }{
		{"abort", id, "has ended already (RolledBack)"},
		{"resolve", id, "ended RolledBack: only a Dirty run is to be resolved"},
		{"janitor", id, "has ended already (RolledBack)"},
		{"show", "no-such-run", "run no-such-run: "},
		{"abort", "no-such-run", "run no-such-run: "},
		{"resolve", "no-such-run", "run no-such-run: "},
		{"janitor", "no-such-run", "run no-such-run: "},
	} {
		if code, _, stderr := w.cli(t, state, tc.command, tc.id); code != 2 || !strings.Contains(stderr, tc.says) {
			t.Errorf("%s %s: exit code %d, stderr %q, want %q", tc.command, tc.id, code, stderr, tc.says)
		}
	}
}

// TestAbortBeforeTheFirstChange ends Aborted.
func TestAbortBeforeTheFirstChange(t *testing.T) {
	w := theWorld
	var r *runner.Runner
	res := w.Start(t, run.Recover, func(x *runner.Runner, _ *runner.Request) { r = x },
		testbed.At(walk.Entered, "AssessCluster", func() { r.RequestAbort() }))
	if res.End.Outcome != run.Aborted || len(entries(t, w.Store, res.Run.ID)) > 0 {
		t.Errorf("outcome %s, %d changes", res.End.Outcome, len(entries(t, w.Store, res.Run.ID)))
	}
	w.clean(t, res.Run.ID)
}

// TestInterrupt: Ctrl-C while a drill waits for its copy. The drill tears down what it made.
func TestInterrupt(t *testing.T) {
	w := theWorld
	before, state := w.Versions(t, sample.Namespace), t.TempDir()
	c := w.spawn(t, state, "drill", "-f", w.Sample.Plan)
	id := c.run(t)
	c.entered(t, id, "AwaitRestore")
	c.signal(t, syscall.SIGINT)
	if code := c.code(); code != 1 || !strings.Contains(c.err.String(), "stopping: what was changed is being undone") {
		t.Errorf("exit code %d", code)
	}
	if s := load(t, state, id); s.End == nil || s.End.Outcome != run.RolledBack || s.Run.FinishedBy != "" {
		t.Errorf("the run stands at %+v", s)
	}
	w.clean(t, id)
	if after := w.Versions(t, sample.Namespace); !maps.Equal(before, after) {
		t.Errorf("production was touched:\n%v\n%v", before, after)
	}
}

// TestDiskFull: from the middle of a drill on, nothing can be written any more. The run makes no change that it cannot write down, ends
// Dirty with the lease kept, and says so; when there is room again the janitor undoes what the journal holds.
func TestDiskFull(t *testing.T) {
	w := theWorld
	state := t.TempDir()
	c := w.spawn(t, state, "drill", "-f", w.Sample.Plan)
	id := c.run(t)
	c.changed(t, id, "the quarantine", func(e journal.Entry) bool { return e.State == "IsolateDrill" && e.Object.Kind == "NetworkPolicy" })
	// No file of the process may grow: as on a full disk, writes fail in the middle of a line, too.
	if err := unix.Prlimit(c.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1, Max: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if code := c.code(); code != 3 {
		t.Errorf("exit code %d, want 3 (dirty)", code)
	}
	for _, s := range []string{"run " + id + " ended ", "its record could not be kept: ", "file too large", "fallback janitor " + id} {
		if !strings.Contains(c.err.String(), s) {
			t.Errorf("%q is not said", s)
		}
	}
	w.died(t, c, id)
	code, res := w.janitor(t, state, id)
	if code != 1 || res.End.Outcome != run.RolledBack {
		t.Errorf("the janitor: exit code %d, outcome %s", code, res.End.Outcome)
	}
	w.clean(t, id)
	if _, err := os.Stat(res.Run.Report.HTML); err != nil {
		t.Error(err)
	}
}
