package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStartAndStopInReverseOrder(t *testing.T) {
	calls, m := listen(t), open(t, nil)
	var gone []<-chan struct{}
	for _, name := range []string{"first", "second"} {
		if err := m.Start(helper(t, name, "wait")); err != nil {
			t.Fatal(err)
		}
		pid, g := calls.started(t)
		gone = append(gone, g)
		if !recorded(t, m.file, name, pid) {
			t.Errorf("%s with process %d is not in the records", name, pid)
		}
	}
	if err := m.Start(helper(t, "first", "wait")); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second start of a running child: %v, expected an error", err)
	}
	if err := m.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, g := range gone {
		await(t, "the end of a child", g)
	}
	st := m.Status()
	if len(st) != 2 || st[0].State != Stopped || st[1].State != Stopped {
		t.Errorf("status after the stop: %+v", st)
	}
	if st[1].Since.After(st[0].Since) {
		t.Error("the child started last was not stopped first")
	}
	if left, err := readRecords(m.file); err != nil || len(left) != 0 {
		t.Errorf("records after the stop: %v, %v", left, err)
	}
	if err := m.Start(helper(t, "third", "wait")); err == nil {
		t.Error("a child was started after the stop of all")
	}
}

func TestStopTakesTheWholeGroup(t *testing.T) {
	calls, m := listen(t), open(t, nil)
	if err := m.Start(helper(t, "tree", "tree")); err != nil {
		t.Fatal(err)
	}
	_, one := calls.started(t)
	_, two := calls.started(t)
	if err := m.Stop(t.Context(), "tree"); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the child", one)
	await(t, "the end of its own child, which ignores SIGTERM", two)
}

func TestStubbornChildIsKilled(t *testing.T) {
	for _, c := range []struct {
		name  string
		grace time.Duration
		ctx   func(context.Context) (context.Context, context.CancelFunc)
	}{
		{"after its grace", 10 * time.Millisecond, context.WithCancel},
		{"when the context ends", time.Hour, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 10*time.Millisecond)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls, m := listen(t), open(t, nil)
			spec := helper(t, "stubborn", "stubborn")
			spec.Grace = c.grace
			if err := m.Start(spec); err != nil {
				t.Fatal(err)
			}
			_, gone := calls.started(t)
			ctx, cancel := c.ctx(t.Context())
			defer cancel()
			if err := m.Stop(ctx, "stubborn"); err != nil {
				t.Fatal(err)
			}
			await(t, "its end", gone)
		})
	}
}

func TestUnexpectedExitIsReportedAndRestarted(t *testing.T) {
	events := make(chan Event, 10)
	calls, m := listen(t), open(t, func(e Event) { events <- e })
	spec := helper(t, "server", "wait")
	spec.Restart = true
	if err := m.Start(spec); err != nil {
		t.Fatal(err)
	}
	first, gone := calls.started(t)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the first", gone)
	if e := <-events; e.State != Restarting || !strings.Contains(e.Reason, "killed") {
		t.Errorf("event %+v, expected Restarting for being killed", e)
	}
	second, _ := calls.started(t)
	st := m.Status()[0]
	if st.State != Running || st.Restarts != 1 || st.PID != second || second == first {
		t.Errorf("status %+v after the restart of %d as %d", st, first, second)
	}
	if !recorded(t, m.file, "server", second) {
		t.Error("the new process is not in the records")
	}
}

func TestRestartsEnd(t *testing.T) {
	events := make(chan Event, 10)
	m := open(t, func(e Event) { events <- e })
	spec := helper(t, "broken", "exit")
	spec.Restart = true
	if err := m.Start(spec); err != nil {
		t.Fatal(err)
	}
	for range maxInARow {
		if e := <-events; e.State != Restarting {
			t.Fatalf("event %+v, expected Restarting", e)
		}
	}
	if e := <-events; e.State != Failed || !strings.Contains(e.Reason, "exit status 3") || !strings.Contains(e.Reason, "giving up") {
		t.Errorf("event %+v, expected Failed with the exit status and the end of the log", e)
	}
	if err := m.Running("broken"); err == nil || !strings.Contains(err.Error(), "giving up") {
		t.Errorf("Running: %v, expected the reason", err)
	}
}

func TestProgramThatDoesNotExist(t *testing.T) {
	m := open(t, nil)
	spec := helper(t, "none", "")
	spec.Path = filepath.Join(t.TempDir(), "none")
	if err := m.Start(spec); err == nil || !strings.Contains(err.Error(), "start none") {
		t.Errorf("Start: %v, expected an error that names the child", err)
	}
}

// TestParentKilled kills a parent with SIGKILL: its child dies with it, or, when it was started to survive, is taken over.
func TestParentKilled(t *testing.T) {
	for _, detached := range []bool{false, true} {
		t.Run("detached="+strconv.FormatBool(detached), func(t *testing.T) {
			calls := listen(t)
			file := filepath.Join(t.TempDir(), "processes.json")
			parent := exec.Command(os.Args[0])
			parent.Env = append(os.Environ(), "HELPER=parent", "RECORDS="+file)
			if detached {
				parent.Env = append(parent.Env, "DETACHED=1")
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			pid, gone := calls.started(t)
			for !recorded(t, file, "child", pid) { // it calls a moment before its parent writes
				select {
				case <-t.Context().Done():
					t.Fatal("the child was never recorded")
				case <-time.After(time.Millisecond):
				}
			}
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = parent.Wait()
			m := Open(file, nil)
			if !detached && killedWithParent {
				await(t, "the end of the child with its parent", gone)
			}
			names, err := m.TakeOver(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			await(t, "the end of the child", gone)
			if detached && (len(names) != 1 || names[0] != "child") {
				t.Errorf("taken over: %v, expected the child", names)
			}
			if left, err := readRecords(file); err != nil || len(left) != 0 {
				t.Errorf("records after the takeover: %v, %v", left, err)
			}
		})
	}
}

func TestTakeOverLeavesOthersAlone(t *testing.T) {
	calls, other := listen(t), open(t, nil)
	if err := other.Start(helper(t, "bystander", "wait")); err != nil {
		t.Fatal(err)
	}
	pid, gone := calls.started(t)
	file := filepath.Join(t.TempDir(), "processes.json")
	if err := writeRecords(file, []record{{Name: "old", PID: pid, Start: "another boot/1", Grace: time.Second}}); err != nil {
		t.Fatal(err)
	}
	names, err := Open(file, nil).TakeOver(t.Context())
	if err != nil || len(names) != 0 {
		t.Errorf("TakeOver: %v, %v; expected nothing to end", names, err)
	}
	select {
	case <-gone:
		t.Error("a process with the same ID and another start time was ended")
	default:
	}
	if _, err := Identity(pid); err != nil {
		t.Errorf("the bystander: %v", err)
	}
}

func TestTakeOverRefusesBrokenRecords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "processes.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, nil).TakeOver(t.Context()); err == nil {
		t.Error("broken records were taken for none: what they name would run on")
	}
}

func TestTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if got := Tail(file, 10); got != "" {
		t.Errorf("of no file: %q", got)
	}
	if err := os.WriteFile(file, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for bytes, want := range map[int64]string{100: "one\ntwo\nthree", 8: "three", 6: "three", 0: ""} {
		if got := Tail(file, bytes); got != want {
			t.Errorf("last %d bytes: %q, expected %q", bytes, got, want)
		}
	}
}
