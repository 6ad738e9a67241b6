package toolchain

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])[:16]
}

// environment is the process's own with what decides the result pinned: no cgo (the programs must not depend on the machine's
// C library) and no workspace.
func environment() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
}

// goCommand runs a short go command and returns what it printed.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	bin, err := lookGo()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir, cmd.Env = dir, environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, explain(ctx, args, stderr.String(), err)
	}
	return out, nil
}

// build runs go build and reports progress every second: modules downloaded, then packages compiled. When count names a
// package pattern, the number of packages there are at most is shown too (those in the go command's cache are not compiled).
func (c Config) build(ctx context.Context, step, dir string, args []string, count ...string) error {
	bin, err := lookGo()
	if err != nil {
		return err
	}
	p := &progress{began: time.Now()}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ticking sync.WaitGroup
	ticking.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				c.report(p.event(step))
			}
		}
	})
	defer ticking.Wait()
	defer cancel()
	if len(count) > 0 {
		out, err := c.run(ctx, bin, dir, append([]string{"list", "-deps"}, count...), p)
		if err != nil {
			return err
		}
		p.set(strings.Count(out, "\n"))
	}
	_, err = c.run(ctx, bin, dir, args, p)
	return err
}

// run executes the go command in a process group of its own, so that its compilers end with it.
func (c Config) run(ctx context.Context, bin, dir string, args []string, p *progress) (string, error) {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir, cmd.Env = dir, environment()
	ownGroup(cmd)
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	pr, pw := io.Pipe()
	cmd.Stderr = pw
	var tail lastLines
	var reading sync.WaitGroup
	reading.Go(func() {
		s := bufio.NewScanner(pr)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			if line := s.Text(); !p.line(line) {
				tail.add(line)
			}
		}
		_, _ = io.Copy(io.Discard, pr)
	})
	err := cmd.Run()
	_ = pw.Close()
	reading.Wait()
	if err != nil {
		return "", explain(ctx, args, tail.String(), err)
	}
	return out.String(), nil
}

// explain makes one sentence of a failed go command.
func explain(ctx context.Context, args []string, stderr string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("interrupted: %w", cause)
	}
	switch {
	case strings.Contains(stderr, "no space left on device"):
		return errors.New("the disk is full: the first build needs about 6 GB in the go command's caches (go env GOCACHE GOMODCACHE) and 1 GB in " + CacheEnv)
	case strings.Contains(stderr, "dial tcp") || strings.Contains(stderr, "proxyconnect"):
		return fmt.Errorf("the Go modules could not be downloaded (go env GOPROXY): %s", lastLine(stderr))
	}
	return fmt.Errorf("go %s: %w\n%s", args[0], err, strings.TrimSpace(stderr))
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// progress counts what the go command tells on its standard error.
type progress struct {
	mu                       sync.Mutex
	began                    time.Time
	downloaded, built, total int
}

func (p *progress) set(total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = total
}

// line takes one line and reports whether it was progress: a download, or the path of a package being compiled (go build -v).
func (p *progress) line(s string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.HasPrefix(s, "go: downloading "):
		p.downloaded++
	case s != "" && !strings.ContainsAny(s, " \t:#"):
		p.built++
	default:
		return false
	}
	return true
}

func (p *progress) event(step string) Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := Event{Step: step, Elapsed: time.Since(p.began)}
	switch {
	case p.built > 0 && p.total > 0:
		e.Detail = fmt.Sprintf("%d packages compiled, %d at most", p.built, p.total)
	case p.built > 0:
		e.Detail = fmt.Sprintf("%d packages compiled", p.built)
	case p.downloaded > 0:
		e.Detail = fmt.Sprintf("%d modules downloaded", p.downloaded)
	case p.total > 0:
		e.Detail = "linking"
	}
	return e
}

// lastLines keeps the end of an output.
type lastLines []string

func (l *lastLines) add(s string) {
	const keep = 30
	*l = append(*l, s)
	if len(*l) > keep {
		*l = (*l)[len(*l)-keep:]
	}
}

func (l lastLines) String() string { return strings.Join(l, "\n") }
