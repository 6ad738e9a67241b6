// Package stacktest gives tests a local stack of their own.
package stacktest

import (
	"context"
	"os"
	"testing"
	"time"

	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/stack"
)

// Dir makes a state directory that databases, which do not run as root, can reach (that of testing.T is closed to others), and
// deletes it after the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fallback-stack-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("state directory: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Up starts a stack and stops it after the test. An empty Dir gets one of its own. The programs must have been built ("fallback local
// build"), or the test waits for that too.
func Up(t testing.TB, opt stack.Options) *stack.Stack {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = Dir(t)
	}
	opt.Progress = func(e stack.Event) {
		if e.Done {
			t.Logf("%s %s (%s)", e.Step, e.Detail, e.Elapsed.Round(time.Millisecond))
		}
	}
	opt.OnExit = func(e process.Event) { t.Log(e) }
	s, err := stack.Up(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop the stack: %v", err)
		}
	})
	return s
}
