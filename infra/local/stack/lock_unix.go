//go:build unix

package stack

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrRunning means that another supervisor holds the state directory.
var ErrRunning = errors.New("the stack is running already")

// lockDir makes sure that one supervisor at a time has the directory. The kernel frees the lock when its holder dies; children
// do not inherit it.
func lockDir(l Layout) (unlock func(), err error) {
	f, err := os.OpenFile(l.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (%s)", ErrRunning, l.Dir)
		}
		return nil, fmt.Errorf("lock %s: %w", l.lock(), err)
	}
	return func() { _ = f.Close() }, nil
}
