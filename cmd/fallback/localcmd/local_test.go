package localcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
)

// child names the variable that makes the test program be the command: up runs its own program again as the supervisor.
const child = "LOCALCMD_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	if err := New().Execute(); err != nil {
		os.Exit(2)
	}
}

// run executes the command and returns what it printed.
func run(ctx context.Context, progress io.Writer, args ...string) (string, error) {
	cmd := New()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(progress)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	return out.String(), err
}

func TestUpStatusDown(t *testing.T) {
	t.Setenv(child, "1")
	dir := stacktest.Dir(t)
	t.Cleanup(func() { _, _ = stack.Down(context.Background(), dir) })
	at := []string{"--dir", dir}
	for _, s := range []struct {
		args []string
		want []string
	}{
		{[]string{"up", "--nodes", "2"}, []string{"is ready after", "2 nodes", "backups go to s3://velero/default of the S3 server http://127.0.0.1:", "export KUBECONFIG=" + dir}},
		{[]string{"up"}, []string{"running already"}},
		{[]string{"status"}, []string{"is ready", "kube-apiserver", "versitygw", "velero", "Running"}},
		{[]string{"kubeconfig"}, []string{dir + "/kubeconfig/admin\n"}},
	} {
		var progress bytes.Buffer
		out, err := run(t.Context(), &progress, append(s.args, at...)...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", s.args, err, progress.String())
		}
		for _, w := range s.want {
			if !strings.Contains(out, w) {
				t.Errorf("%v printed %q, expected %q", s.args, out, w)
			}
		}
	}
	out, err := run(t.Context(), io.Discard, append([]string{"status", "-o", "json"}, at...)...)
	var st stack.Status
	if err == nil {
		err = json.Unmarshal([]byte(out), &st)
	}
	if err != nil || !st.Ready || st.Supervisor == os.Getpid() || st.Nodes != 2 {
		t.Errorf("status %+v, %v: expected a ready stack of another process", st, err)
	}
	if out, err := run(t.Context(), io.Discard, append([]string{"down", "--purge"}, at...)...); err != nil || !strings.Contains(out, "deleted "+dir) {
		t.Errorf("down --purge: %q, %v", out, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state directory after the purge: %v", err)
	}
}

// TestInterruptedUp interrupts up once the programs are built: nothing may stay behind.
func TestInterruptedUp(t *testing.T) {
	t.Setenv(child, "1")
	dir := stacktest.Dir(t)
	ctx, cancel := context.WithCancel(t.Context())
	progress := &trigger{on: "programs", do: cancel}
	_, err := run(ctx, progress, "up", "--dir", dir)
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("up: %v, expected interrupted", err)
	}
	if ran, err := stack.Down(t.Context(), dir); err != nil || ran {
		t.Errorf("after the interrupt something ran: %t, %v", ran, err)
	}
}

// trigger calls do when a text is written.
type trigger struct {
	mu sync.Mutex
	on string
	do func()
}

func (w *trigger) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(string(p), w.on) {
		w.do()
	}
	return len(p), nil
}

func TestWithoutAStack(t *testing.T) {
	for _, c := range []struct {
		args      []string
		out, fail string
	}{
		{args: []string{"status"}, out: "no local stack in"},
		{args: []string{"status", "-o", "json"}, out: `"running": false`},
		{args: []string{"status", "-o", "xml"}, fail: `--output "xml": expected table or json`},
		{args: []string{"kubeconfig"}, fail: "no local stack"},
		{args: []string{"down"}, out: "no local stack in"},
		{args: []string{"down", "--purge"}, out: "no local stack in"},
		{args: []string{"up", "--nodes", "99"}, fail: "expected 1 to 26"},
		{args: []string{"up", "surplus"}, fail: "surplus"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			t.Setenv(child, "1")
			out, err := run(t.Context(), io.Discard, append(c.args, "--dir", t.TempDir())...)
			if !strings.Contains(out, c.out) || (err == nil) != (c.fail == "") || (err != nil && !strings.Contains(err.Error(), c.fail)) {
				t.Errorf("%q, %v; expected %q, %q", out, err, c.out, c.fail)
			}
		})
	}
}

func TestBadName(t *testing.T) {
	if _, err := run(t.Context(), io.Discard, "status", "--name", "../x"); err == nil || !strings.Contains(err.Error(), `"../x"`) {
		t.Errorf("%v, expected the name to be refused", err)
	}
}

func TestPrinter(t *testing.T) {
	events := []stack.Event{
		{Step: "build", Detail: "3 packages", Elapsed: time.Second},
		{Step: "build", Detail: "9 packages", Elapsed: 25 * time.Second},
		{Step: "build", Detail: "12 packages", Elapsed: 30 * time.Second},
		{Step: "build", Elapsed: 31 * time.Second, Done: true},
	}
	for _, c := range []struct {
		terminal bool
		want     string
	}{
		{false, "… build: 9 packages (25.0 s)\n✓ build (31.0 s)\nend\n"},
		{true, "… build: 3 packages (1.0 s)" + "\r\x1b[K… build: 9 packages (25.0 s)" + "\r\x1b[K… build: 12 packages (30.0 s)" + "\r\x1b[K✓ build (31.0 s)\nend\n"},
	} {
		var out bytes.Buffer
		p := newPrinter(&out)
		p.terminal = c.terminal
		for _, e := range events {
			p.event(e)
		}
		p.line("end")
		p.close()
		if out.String() != c.want {
			t.Errorf("terminal %t: %q, expected %q", c.terminal, out.String(), c.want)
		}
	}
}
