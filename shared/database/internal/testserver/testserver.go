// Package testserver runs a database server for a test, never as root: in a directory of its own, on a free port of the loopback
// interface, from when it says that it is ready until the test ends.
package testserver

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/loopback"
)

const (
	// Patience bounds everything that is waited for, but for programs that have to be brought: those have BringPatience.
	Patience      = 90 * time.Second
	BringPatience = 12 * time.Minute
	// endGrace is how long a server that was told to end may take until it is killed.
	endGrace = 5 * time.Second
	// attempts are made on other ports: another process may take the free one first.
	attempts = 5
	// logLimit is how much of what a server says before it is ready is kept for an error.
	logLimit = 1 << 16
)

// Home is where a server's files are, and whom it runs as.
type Home struct {
	// Dir is the server's own, Place the directory above it, which everybody may pass. Both go with the test.
	Dir, Place string

	as *syscall.Credential
	tb testing.TB
}

// New makes the directories. When the test runs as root, the server's user is the first of users that there is.
func New(tb testing.TB, users ...string) *Home {
	tb.Helper()
	// Not tb.TempDir, which the other user could not reach.
	place, err := os.MkdirTemp("", "fallback-database-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(place) })
	if err := os.Chmod(place, 0o711); err != nil { //nolint:gosec // a test's own directory, with nothing readable in it
		tb.Fatal(err)
	}
	as, err := unprivileged(users...)
	if err != nil {
		tb.Fatal(err)
	}
	h := &Home{Dir: filepath.Join(place, "home"), Place: place, as: as, tb: tb}
	if err := os.Mkdir(h.Dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	return h
}

// Command is a program of the server's, run as its user.
func (h *Home) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, args...)
	c.Dir = h.Dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.Dir, "TMPDIR=" + h.Dir, "LC_ALL=C", "TZ=UTC"}
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok {
		c.Env = append(c.Env, "LD_LIBRARY_PATH="+v)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: h.as}
	return c
}

// Server is how one is run.
type Server struct {
	Program string
	// Args are those for a port.
	Args func(port int) []string
	// ReadyLine is what a line of its standard error says when it takes connections.
	ReadyLine string
	// StopWith ends it; nothing that it holds is wanted any more.
	StopWith syscall.Signal
}

// Serve runs the server until the test ends, and returns its address once it is ready.
func (h *Home) Serve(s Server) string {
	h.tb.Helper()
	for range attempts {
		port, err := loopback.Databases.FreePort()
		if err != nil {
			h.tb.Fatal(err)
		}
		if err := h.start(s, port); err != nil {
			h.tb.Log(err)
			continue
		}
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	h.tb.Fatalf("%s did not start", filepath.Base(s.Program))
	return ""
}

// start returns when the server is ready, or is over without having become so.
func (h *Home) start(s Server, port int) error {
	ctx, cancel := context.WithCancel(context.Background())
	c := h.Command(ctx, s.Program, s.Args(port)...)
	said := &output{readyLine: []byte(s.ReadyLine), ready: make(chan struct{})}
	c.Stderr = said
	c.Cancel = func() error { return c.Process.Signal(s.StopWith) }
	c.WaitDelay = endGrace
	if err := c.Start(); err != nil {
		cancel()
		return err
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = c.Wait()
	}()
	stop := func() {
		cancel()
		<-over
	}
	late := time.NewTimer(Patience)
	defer late.Stop()
	select {
	case <-said.ready:
		h.tb.Cleanup(stop)
		return nil
	case <-over:
	case <-late.C:
	}
	stop()
	return fmt.Errorf("%s did not become ready:\n%s", filepath.Base(s.Program), said.log)
}

// output takes what a server says, and looks for one line.
type output struct {
	readyLine []byte
	// ready is closed when the line came; log is the end of what came before.
	ready chan struct{}
	log   []byte
	found bool
}

// Write is called by one goroutine, which has ended when the server is over.
func (o *output) Write(b []byte) (int, error) {
	if o.found {
		return len(b), nil
	}
	o.log = append(o.log, b...)
	if bytes.Contains(o.log, o.readyLine) {
		o.found = true
		close(o.ready)
	}
	o.log = o.log[max(0, len(o.log)-logLimit):]
	return len(b), nil
}
