// Package brought keeps programs that are not on the machine in a directory: brought once, by one process at a time, and there as a whole
// or not at all.
package brought

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Once does nothing when dir is complete. Else it calls bring, which puts the files into a directory that is not there yet, and gives
// that the name dir. The directories next to dir are the cache's; other processes wait for the one that brings.
func Once(ctx context.Context, dir string, complete func(dir string) bool, bring func(ctx context.Context, files string) error) error {
	if complete(dir) {
		return nil
	}
	cache := filepath.Dir(dir)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := take(ctx, lock); err != nil {
		return fmt.Errorf("wait for another process that brings %s: %w", filepath.Base(dir), err)
	}
	if complete(dir) {
		return nil
	}
	tmp, err := os.MkdirTemp(cache, "bring-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	files := filepath.Join(tmp, "files")
	if err := bring(ctx, files); err != nil {
		return err
	}
	if !complete(files) {
		return fmt.Errorf("what was brought for %s is not complete", filepath.Base(dir))
	}
	// What is there is not complete: it is of a version that did not bring files as a whole.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(files, dir)
}

// take waits for the lock, which goes with its file.
func take(ctx context.Context, lock *os.File) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
