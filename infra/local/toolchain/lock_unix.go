//go:build unix

package toolchain

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// lock takes an exclusive lock on a file, so that two builds at once do not do the same work twice; waiting is called once when
// another process holds it. The kernel frees the lock when its holder dies.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return func() { _ = f.Close() }, nil
	}
	waiting()
	got := make(chan error, 1)
	go func() { got <- syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }()
	select {
	case err := <-got:
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return func() { _ = f.Close() }, nil
	case <-ctx.Done():
		// The system call cannot be interrupted; whoever gets the lock late gives it back at once.
		go func() { _, _ = <-got, f.Close() }()
		return nil, fmt.Errorf("wait for another build (%s): %w", path, context.Cause(ctx))
	}
}
