package runstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// reserved is how much of the disk a run sets aside before it begins: enough to write down that every change was undone, and the
// report, when the disk is full by then.
const reserved = 1 << 20

// Begin makes the first checkpoint and sets the reserve aside. When that fails the disk cannot take a run: nothing was begun,
// and nothing is left of the run.
func (r *Record) Begin(c Checkpoint) error {
	err := writeReserve(filepath.Join(r.dir, reserveFile))
	if err == nil {
		err = writeJSON(filepath.Join(r.dir, checkpointFile), c)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the run cannot be kept: %w", err), os.RemoveAll(r.dir))
	}
	return nil
}

func writeReserve(path string) error {
	// Not zeros: a file system that compresses would set nothing aside.
	line := []byte("set aside for the end of the run\n")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(bytes.Repeat(line, reserved/len(line))); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// Keep writes something of the run's record, also what others than the record write. When that fails, the reserve is given
// back and the write is tried once more; Short then tells.
func (r *Record) Keep(write func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := write()
	if err == nil {
		return nil
	}
	if r.short == nil {
		r.short = err
	}
	if os.Remove(filepath.Join(r.dir, reserveFile)) != nil {
		return err // there is none any more
	}
	return write()
}

// Short is the first write that failed, also when the reserve then made it possible: the run is to be brought to its end.
func (r *Record) Short() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.short
}
