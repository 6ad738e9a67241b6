package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	firstPause = 200 * time.Millisecond // before the first restart; doubled each time
	lastPause  = 5 * time.Second
	steady     = 30 * time.Second // a run this long forgives earlier failures
	maxInARow  = 5
	maxLog     = 32 << 20 // a log longer than this is set aside at the next start
)

// child is one program and the goroutine that watches it.
type child struct {
	spec       Spec
	firstPause time.Duration
	onEvent    func(Event)
	save       func() error
	stopping   chan struct{} // closed when the child is asked to stop
	once       sync.Once
	done       chan struct{} // closed when it is over

	mu       sync.Mutex
	st       Status
	identity string // identity of the running process, "" while none runs
}

func newChild(spec Spec, pause time.Duration, onEvent func(Event), save func() error) *child {
	return &child{spec: spec, firstPause: pause, onEvent: onEvent, save: save, stopping: make(chan struct{}), done: make(chan struct{}),
		st: Status{Name: spec.Name, Log: spec.Log}}
}

// start starts the program and the goroutine that watches it.
func (c *child) start() error {
	first := make(chan error, 1)
	go c.watch(first)
	return <-first
}

// watch runs the program until it is over. It keeps one operating system thread: the kernel sends the parent's death signal
// when the THREAD that started the child ends, and Go ends idle locked threads (https://go.dev/issue/27505).
func (c *child) watch(first chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)
	pause, failed := c.firstPause, 0
	for began := time.Now(); ; began = time.Now() {
		cmd, err := c.launch()
		if first != nil {
			first <- err
			if first = nil; err != nil {
				c.set(Failed, err.Error())
				return
			}
		} else if err == nil {
			_ = c.save()
		}
		if err == nil {
			err = cmd.Wait()
			_ = killGroup(cmd.Process.Pid, syscall.SIGKILL) // what it left behind in its group
			c.clear()
		}
		if c.asked() {
			c.set(Stopped, "")
			return
		}
		reason := c.exitReason(err)
		if time.Since(began) >= steady {
			pause, failed = c.firstPause, 0
		}
		if failed++; !c.spec.Restart || failed > maxInARow {
			c.set(Failed, reason)
			_ = c.save()
			c.onEvent(Event{Name: c.spec.Name, State: Failed, Reason: reason})
			return
		}
		c.set(Restarting, reason)
		_ = c.save()
		c.onEvent(Event{Name: c.spec.Name, State: Restarting, Reason: reason})
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		case <-c.stopping:
			c.set(Stopped, "")
			return
		}
	}
}

func (c *child) launch() (*exec.Cmd, error) {
	log, err := openLog(c.spec.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(c.spec.Path, c.spec.Args...)
	cmd.Dir, cmd.Env = c.spec.Dir, append(os.Environ(), c.spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(c.spec.Detached)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	id, _ := Identity(cmd.Process.Pid) // it may be gone already
	c.mu.Lock()
	defer c.mu.Unlock()
	c.identity = id
	if c.st.State == Restarting {
		c.st.Restarts++
	}
	c.st.State, c.st.PID, c.st.Since = Running, cmd.Process.Pid, time.Now()
	if c.asked() { // between the end of the pause and now
		_ = killGroup(c.st.PID, syscall.SIGTERM)
	}
	return cmd, nil
}

// stop asks the child to end and waits until it has.
func (c *child) stop(ctx context.Context) {
	c.once.Do(func() { close(c.stopping) })
	c.signal(syscall.SIGTERM)
	grace := time.NewTimer(c.spec.Grace)
	defer grace.Stop()
	select {
	case <-c.done:
	case <-grace.C:
		c.kill()
	case <-ctx.Done():
		c.kill()
	}
	if c.over() {
		c.set(Stopped, "")
	}
}

// kill ends the group for certain. A process in an uninterruptible system call stays until the call returns; five seconds are
// waited for that.
func (c *child) kill() {
	c.signal(syscall.SIGKILL)
	select {
	case <-c.done:
	case <-time.After(5 * time.Second):
	}
}

func (c *child) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.st.PID != 0 {
		_ = killGroup(c.st.PID, s)
	}
}

func (c *child) asked() bool { return closed(c.stopping) }
func (c *child) over() bool  { return closed(c.done) }

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (c *child) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st.PID, c.identity = 0, ""
}

func (c *child) set(s State, exit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.st.State != s {
		c.st.State, c.st.Since = s, time.Now()
	}
	if exit != "" {
		c.st.LastExit = exit
	}
}

func (c *child) status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st
}

func (c *child) record() (record, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return record{Name: c.spec.Name, PID: c.st.PID, Start: c.identity, Path: c.spec.Path, Grace: c.spec.Grace}, c.st.PID != 0 && c.identity != ""
}

// exitReason is how the program ended and the end of what it said.
func (c *child) exitReason(err error) string {
	how := "exit status 0"
	if err != nil {
		how = err.Error()
	}
	if tail := Tail(c.spec.Log, 400); tail != "" {
		return fmt.Sprintf("%s; its log ends: %s", how, tail)
	}
	return how
}

// Tail returns the last bytes of a file in whole lines, or "" when it cannot be read.
func Tail(path string, bytes int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	from := max(0, end-bytes)
	data := make([]byte, end-from)
	if _, err := f.ReadAt(data, from); err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	text := string(data)
	if i := strings.IndexByte(text, '\n'); from > 0 && i >= 0 && i < len(text)-1 {
		text = text[i+1:]
	}
	return strings.TrimSpace(text)
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
