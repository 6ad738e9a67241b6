package scenarios

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/statemachine/walk"
)

// built is the CLI, built once for all tests.
var built struct {
	sync.Once
	path string
	err  error
}

func binary(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		built.path = filepath.Join(theWorld.Dir, "bin", "fallback")
		cmd := exec.Command("go", "build", "-o", built.path, "fallbackchain.io/fallback/cmd/fallback")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = errors.New(string(out))
		}
	})
	if built.err != nil {
		t.Fatalf("build the CLI: %v", built.err)
	}
	return built.path
}

// child is the CLI as a process of its own, with a directory of runs of its own.
type child struct {
	cmd      *exec.Cmd
	store    runstore.Store
	out, err bytes.Buffer
	done     chan struct{}
}

// longest is the most time a child may take.
const longest = 4 * time.Minute

// spawn starts the CLI, whose steps connect as their functions.
func (w *world) spawn(t *testing.T, state string, args ...string) *child {
	t.Helper()
	switch args[0] {
	case "recover", "drill", "evaluate", "janitor":
		args = append(args, "--as-functions")
	}
	return w.spawnAsUser(t, state, args...)
}

// spawnAsUser starts the CLI, whose steps connect as the plan's user.
func (w *world) spawnAsUser(t *testing.T, state string, args ...string) *child {
	t.Helper()
	return w.exec(t, state, binary(t), append(args, "--state-dir", state)...)
}

// exec starts a program that is, or becomes, the CLI.
func (w *world) exec(t *testing.T, state, path string, args ...string) *child {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), longest)
	c := &child{cmd: exec.CommandContext(ctx, path, args...), store: runstore.Store{Dir: state}, done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.err
	c.cmd.Env = append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait() // the exit code tells
	}()
	t.Cleanup(func() {
		cancel()
		<-c.done
		if t.Failed() {
			t.Logf("fallback %s: exit code %d\n%s\n%s", strings.Join(args, " "), c.cmd.ProcessState.ExitCode(), c.err.String(), c.out.String())
		}
	})
	return c
}

// code waits for the end and returns the exit code; -1 after a signal.
func (c *child) code() int {
	<-c.done
	return c.cmd.ProcessState.ExitCode()
}

func (c *child) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}

// kill ends the process as a crash would, and waits until it is gone.
func (c *child) kill(t *testing.T) {
	t.Helper()
	c.signal(t, syscall.SIGKILL)
	if code := c.code(); code != -1 {
		t.Fatalf("the process ended by itself with exit code %d before it was killed", code)
	}
}

// cli runs the CLI to its end.
func (w *world) cli(t *testing.T, state string, args ...string) (code int, out, stderr string) {
	t.Helper()
	c := w.spawn(t, state, args...)
	return c.code(), c.out.String(), c.err.String()
}

// cliAsUser is cli for a plan that names a user of its own.
func (w *world) cliAsUser(t *testing.T, state string, args ...string) (code int, out, stderr string) {
	t.Helper()
	c := w.spawnAsUser(t, state, args...)
	return c.code(), c.out.String(), c.err.String()
}

// until polls files that another process writes: it looks every few milliseconds, for two minutes at most.
func until(t *testing.T, what string, c *child, done func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(2*time.Millisecond), time.NewTimer(2*time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-c.done:
			if !done() {
				t.Fatalf("the process ended before %s: exit code %d\n%s", what, c.code(), c.err.String())
			}
			return
		case <-limit.C:
			t.Fatalf("%s did not come", what)
		}
	}
}

// run waits until the child's run is kept and returns its ID. Runs that were there before are left out.
func (c *child) run(t *testing.T, before ...string) string {
	t.Helper()
	id := ""
	until(t, "the run's first checkpoint", c, func() bool {
		all, _ := c.store.List()
		for _, s := range all {
			if !strings.Contains(strings.Join(before, " "), s.ID) {
				id = s.ID
			}
		}
		return id != ""
	})
	return id
}

// entered waits until the run's events show that a state began.
func (c *child) entered(t *testing.T, id, state string) {
	t.Helper()
	c.event(t, id, state, walk.Entered)
}

func (c *child) event(t *testing.T, id, state string, kind walk.EventKind) {
	t.Helper()
	until(t, string(kind)+" "+state, c, func() bool {
		es, _ := runstore.Events[walk.Event](filepath.Join(c.store.Dir, id))
		for _, e := range es {
			if e.State == state && e.Kind == kind {
				return true
			}
		}
		return false
	})
}

// changed waits until the run's journal shows a change that was made.
func (c *child) changed(t *testing.T, id, what string, is func(journal.Entry) bool) {
	t.Helper()
	until(t, what, c, func() bool {
		for _, e := range entries(t, c.store, id) {
			if e.Done != nil && e.Done.Error == "" && is(e) {
				return true
			}
		}
		return false
	})
}

func entries(t *testing.T, s runstore.Store, id string) []journal.Entry {
	t.Helper()
	j, err := (&journal.Files{Dir: s.Dir}).Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	es, err := j.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return es
}

// load reads a run as it is kept.
func load(t *testing.T, state, id string) runstore.Saved {
	t.Helper()
	s, err := runstore.Store{Dir: state}.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// holder is the run that holds the shop's lease; "" when it is free.
func (w *world) holder(t *testing.T) string {
	t.Helper()
	s, err := lease.Holder(t.Context(), w.Client, lease.Name("shop", "pg"))
	if err != nil {
		t.Fatal(err)
	}
	return s.Holder
}

// planFile writes a changed copy of the sample's plan and returns its path.
func planFile(t *testing.T, w *world, edit func(string) string) string {
	t.Helper()
	return testbed.EditedFile(t, w.Sample.Plan, edit)
}

// clean is a context for what a test does after its end.
func clean(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
