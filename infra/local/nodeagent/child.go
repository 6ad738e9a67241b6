package nodeagent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"fallbackchain.io/fallback/infra/local/process"
)

// command is one process to run.
type command struct {
	name  string
	path  string
	args  []string
	env   []string
	dir   string
	as    Identity
	stdin string
	// log takes both outputs, appended.
	log string
	// until, when not empty, is what a line says once the process is ready.
	until string
	// stopWith ends it cleanly; after grace it is killed.
	stopWith syscall.Signal
	grace    time.Duration
}

// child is a started process.
type child struct {
	cmd      command
	pid      int
	said     chan struct{} // closed when a line held cmd.until
	done     chan struct{}
	exitErr  error // valid, with failed, when done is closed
	failed   bool
	stopping sync.Once
}

// minimalEnv keeps what programs need to run and none of the agent's own settings (PGDATA, PGPORT and the like change a
// server's mind).
func minimalEnv() []string {
	out := []string{"HOME=/", "TZ=UTC"}
	for _, k := range []string{"PATH", "LD_LIBRARY_PATH", "TMPDIR"} {
		if v, ok := os.LookupEnv(k); ok {
			out = append(out, k+"="+v)
		}
	}
	return out
}

// run starts a process and keeps a record of it.
func (r *records) run(c command) (*child, error) {
	ch := &child{cmd: c, said: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error, 1)
	go ch.watch(r, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return ch, nil
}

// watch keeps its thread, because the kernel takes the end of the thread that started a child for the parent's death
// (https://go.dev/issue/27505).
func (ch *child) watch(r *records, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	log, err := os.OpenFile(ch.cmd.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		started <- err
		return
	}
	defer log.Close()
	out := &output{file: log, until: ch.cmd.until, said: ch.said}
	cmd := exec.Command(ch.cmd.path, ch.cmd.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = ch.cmd.dir, ch.cmd.env, out, out
	cmd.SysProcAttr = ch.cmd.as.attributes()
	if ch.cmd.stdin != "" {
		cmd.Stdin = strings.NewReader(ch.cmd.stdin)
	}
	// Grandchildren that hold the pipe do not keep us once the process itself is over.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	ch.pid = cmd.Process.Pid
	r.add(ch.cmd.name, ch.pid)
	started <- nil
	if err = cmd.Wait(); errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well, only the pipe is held still
	}
	_ = syscall.Kill(-ch.pid, syscall.SIGKILL) // what it left in its group
	r.remove(ch.pid)
	how := "exit status 0"
	if ch.failed = err != nil; ch.failed {
		how = err.Error()
	}
	ch.exitErr = fmt.Errorf("%s ended: %s: %s", ch.cmd.name, how, out.tail())
	close(ch.done)
}

func (ch *child) exited() <-chan struct{} { return ch.done }
func (ch *child) err() error              { return ch.exitErr }

// stop asks the process to end, and kills it when it does not within its grace.
func (ch *child) stop() {
	ch.stopping.Do(func() {
		_ = syscall.Kill(ch.pid, ch.cmd.stopWith)
		t := time.NewTimer(ch.cmd.grace)
		defer t.Stop()
		select {
		case <-ch.done:
		case <-t.C:
			ch.kill()
		}
	})
	<-ch.done
}

// kill ends the process and its group at once.
func (ch *child) kill() {
	select {
	case <-ch.done:
	default:
		_ = syscall.Kill(-ch.pid, syscall.SIGKILL)
	}
	<-ch.done
}

// output writes to the log, remembers the end, and looks for one line.
type output struct {
	mu    sync.Mutex
	file  *os.File
	last  []byte
	until string
	said  chan struct{}
	found bool
}

const lastBytes = 4 << 10

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = append(o.last, b...)
	if !o.found && o.until != "" && bytes.Contains(o.last, []byte(o.until)) {
		o.found = true
		close(o.said)
	}
	if n := len(o.last) - lastBytes; n > 0 {
		o.last = o.last[n:]
	}
	return o.file.Write(b)
}

// tail is the last lines, on one.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(o.last)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}

// stillOurs tells whether a recorded process is still running.
func stillOurs(r record) bool { return process.Alive(r.PID, r.Identity) }
