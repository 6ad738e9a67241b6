package brought

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func complete(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "program"))
	return err == nil
}

// put makes a file below files.
func put(files, name string) error {
	return errors.Join(os.MkdirAll(files, 0o755), os.WriteFile(filepath.Join(files, name), nil, 0o600))
}

func TestOnlyOneBrings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache", "1.0")
	var times atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			err := Once(t.Context(), dir, complete, func(_ context.Context, files string) error {
				times.Add(1)
				return put(files, "program")
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if times.Load() != 1 || !complete(dir) {
		t.Errorf("brought %d times, complete: %t", times.Load(), complete(dir))
	}
}

func TestWhatIsNotBroughtLeavesNothing(t *testing.T) {
	lost := errors.New("connection lost")
	for name, tc := range map[string]struct {
		bring func(context.Context, string) error
		says  string
	}{
		"half of it, with an error":    {func(_ context.Context, files string) error { return errors.Join(put(files, "program"), lost) }, "connection lost"},
		"half of it, without an error": {func(_ context.Context, files string) error { return put(files, "library") }, "1.0 is not complete"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "1.0")
			if err := Once(t.Context(), dir, complete, tc.bring); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want %q", err, tc.says)
			}
			es, err := os.ReadDir(filepath.Dir(dir))
			if err != nil || len(es) != 1 || es[0].Name() != "lock" {
				t.Errorf("the cache holds %v (%v), want the lock alone", es, err)
			}
			err = Once(t.Context(), dir, complete, func(_ context.Context, files string) error { return put(files, "program") })
			if err != nil || !complete(dir) {
				t.Errorf("the next attempt: %v", err)
			}
		})
	}
}

func TestTheWaitForAnotherProcessIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "1.0")
	err := Once(t.Context(), dir, complete, func(_ context.Context, files string) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Once(ctx, dir, complete, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a second one while the first brings: %v, want the end of its context", err)
		}
		return put(files, "program")
	})
	if err != nil {
		t.Error(err)
	}
}
