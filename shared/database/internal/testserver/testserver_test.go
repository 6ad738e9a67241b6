package testserver

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// script is a server of this text; $1 is its port.
func script(text string) Server {
	return Server{Program: "/bin/sh", Args: func(port int) []string { return []string{"-c", text, "server", strconv.Itoa(port)} },
		ReadyLine: "takes connections", StopWith: syscall.SIGTERM}
}

func TestServe(t *testing.T) {
	var said []string // its port, process and user
	ok := t.Run("until the test ends", func(t *testing.T) {
		h := New(t, "nobody")
		h.Own()
		// The line comes in two pieces, and what follows it does not stop the server.
		addr := h.Serve(script(`echo $1 $$ $(id -u) > said; printf 'takes connec' >&2; echo tions >&2; exec cat /dev/zero >&2`))
		b, err := os.ReadFile(filepath.Join(h.Dir, "said"))
		if err != nil {
			t.Fatal(err)
		}
		if said = strings.Fields(string(b)); len(said) != 3 || addr != "127.0.0.1:"+said[0] {
			t.Fatalf("address %s, the server said %q", addr, b)
		}
		if said[2] == "0" {
			t.Error("the server runs as root")
		}
	})
	if !ok {
		return
	}
	pid, err := strconv.Atoi(said[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the server after its test: %v, want none", err)
	}
}

func TestAServerThatDoesNotBecomeReady(t *testing.T) {
	h := New(t, "nobody")
	h.Own()
	if err := h.start(script(`echo port $1 is taken >&2; exit 1`), 7); err == nil || !strings.Contains(err.Error(), "port 7 is taken") {
		t.Errorf("error %v, want what the server said", err)
	}
	s := script("")
	s.Program = filepath.Join(h.Dir, "missing")
	if err := h.start(s, 7); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestDirectoriesThatTheServerMayNotEnter(t *testing.T) {
	closed := &Home{as: &syscall.Credential{Uid: 12345}, tb: t}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := closed.MayEnter(dir); err == nil || !strings.Contains(err.Error(), "12345") {
		t.Errorf("error %v, want one that names the user", err)
	}
	if err := closed.MayEnter("/"); err != nil {
		t.Error(err)
	}
	if err := (&Home{tb: t}).MayEnter(dir); err != nil {
		t.Errorf("the test's own user: %v", err)
	}
}
