//go:build unix

package runstore

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the file's lock; the kernel lets it go when the process dies, however it dies.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrBusy
	}
	return err
}
