package process

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The test program is also the child: HELPER says how it behaves. A helper holds a connection to the test; its end tells the
// test that the process is gone, so nothing has to be asked in turns.
func TestMain(m *testing.M) {
	switch mode := os.Getenv("HELPER"); mode {
	case "":
		os.Exit(m.Run())
	case "exit":
		println("giving up")
		os.Exit(3)
	case "parent": // starts a child as a manager does, and lets itself be killed
		man := Open(os.Getenv("RECORDS"), nil)
		err := man.Start(Spec{Name: "child", Path: os.Args[0], Log: os.Getenv("RECORDS") + ".log",
			Env: []string{"HELPER=wait"}, Detached: os.Getenv("DETACHED") != ""})
		if err != nil {
			panic(err)
		}
		select {}
	case "tree": // has a child of its own in the same group
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HELPER=stubborn")
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		hold(mode)
	default:
		hold(mode)
	}
}

func hold(mode string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	conn, err := net.Dial("tcp", os.Getenv("CALL"))
	if err != nil {
		panic(err)
	}
	if _, err := conn.Write([]byte(strconv.Itoa(os.Getpid()) + "\n")); err != nil {
		panic(err)
	}
	if mode == "stubborn" {
		select {}
	}
	<-term
	os.Exit(0)
}

// switchboard takes the calls of helpers.
type switchboard struct{ net.Listener }

func listen(t *testing.T) switchboard {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("CALL", l.Addr().String())
	return switchboard{l}
}

// started waits for the next helper and returns its process ID and a channel that is closed when it is gone.
func (s switchboard) started(t *testing.T) (pid int, gone <-chan struct{}) {
	t.Helper()
	_ = s.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	conn, err := s.Accept()
	if err != nil {
		t.Fatalf("no process called: %v", err)
	}
	var line bytes.Buffer
	b := make([]byte, 1)
	for {
		if _, err := conn.Read(b); err != nil {
			t.Fatal(err)
		}
		if b[0] == '\n' {
			break
		}
		line.WriteByte(b[0])
	}
	if pid, err = strconv.Atoi(line.String()); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { _, _ = conn.Read(b); _ = conn.Close(); close(over) }()
	return pid, over
}

func await(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not happen", what)
	}
}

func helper(t *testing.T, name, mode string) Spec {
	return Spec{Name: name, Path: os.Args[0], Env: []string{"HELPER=" + mode}, Log: filepath.Join(t.TempDir(), name+".log"), Grace: 20 * time.Second}
}

func open(t *testing.T, onEvent func(Event)) *Manager {
	m := Open(filepath.Join(t.TempDir(), "processes.json"), onEvent)
	m.pause = time.Millisecond
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = m.StopAll(ctx)
	})
	return m
}

func recorded(t *testing.T, file, name string, pid int) bool {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	var all []record
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Name == name && r.PID == pid && r.Start != "" {
			return true
		}
	}
	return false
}
