package nodeagent

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fallbackchain.io/fallback/infra/local/process"
)

func newRecords(t *testing.T) *records {
	t.Helper()
	r, err := takeOver(filepath.Join(t.TempDir(), "processes.json"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shell(t *testing.T, script string) command {
	return command{name: "test", path: "/bin/sh", args: []string{"-c", script}, env: minimalEnv(), dir: t.TempDir(),
		log: filepath.Join(t.TempDir(), "log"), until: "ready to go", stopWith: syscall.SIGINT, grace: 5 * time.Second}
}

func recorded(t *testing.T, r *records) []record {
	t.Helper()
	b, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	var all []record
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestChildSaysReadyAndStopsCleanly(t *testing.T) {
	r := newRecords(t)
	ch, err := r.run(shell(t, `trap 'echo bye; exit 0' INT; echo ready to go; while :; do read x || sleep 0.05; done`))
	if err != nil {
		t.Fatal(err)
	}
	<-ch.said
	if got := recorded(t, r); len(got) != 1 || got[0].PID != ch.pid || got[0].Identity == "" {
		t.Errorf("records %+v, want process %d with its identity", got, ch.pid)
	}
	ch.stop()
	ch.stop() // the second has nothing to do
	if ch.failed || !strings.Contains(ch.err().Error(), "bye") {
		t.Errorf("it ended with %v, want a clean end that says bye", ch.err())
	}
	if got := recorded(t, r); len(got) != 0 {
		t.Errorf("records %+v, want none", got)
	}
}

func TestChildThatDiesSaysWhy(t *testing.T) {
	ch, err := newRecords(t).run(shell(t, `echo one >&2; echo 'data directory is broken' >&2; exit 3`))
	if err != nil {
		t.Fatal(err)
	}
	<-ch.exited()
	if msg := ch.err().Error(); !strings.Contains(msg, "exit status 3") || !strings.Contains(msg, "data directory is broken") {
		t.Errorf("error %q, want the exit status and the last lines", msg)
	}
	b, err := os.ReadFile(ch.cmd.log)
	if err != nil || !strings.Contains(string(b), "one\n") {
		t.Errorf("log %q (%v), want all that it said", b, err)
	}
}

func TestChildThatIgnoresTheSignalIsKilled(t *testing.T) {
	c := shell(t, `trap '' INT; echo ready to go; while :; do sleep 0.05; done`)
	c.grace = 50 * time.Millisecond
	ch, err := newRecords(t).run(c)
	if err != nil {
		t.Fatal(err)
	}
	<-ch.said
	ch.stop()
	if !ch.failed {
		t.Errorf("it ended with %v, want killed", ch.err())
	}
}

func TestAProgramThatIsMissing(t *testing.T) {
	c := shell(t, "")
	c.path = filepath.Join(t.TempDir(), "initdb")
	if _, err := newRecords(t).run(c); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestTakeOverKillsWhatWasLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "processes.json")
	left := exec.Command("sleep", "600")
	left.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	other := exec.Command("sleep", "600")
	for _, c := range []*exec.Cmd{left, other} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	id, err := process.Identity(left.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal([]record{{"left", left.Process.Pid, id}, {"gone", other.Process.Pid, "the identity of a process before it"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	if _, err := takeOver(path); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the process that was left ended by itself")
	}
	// The other got the same process ID later; it is not ours to kill.
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the stranger: %v, want it alive", err)
	}
	_ = other.Process.Kill()
	_ = other.Wait()
}

func TestForeignRecordsAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "processes.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := takeOver(path); err == nil {
		t.Error("records that cannot be read were taken as none")
	}
}
