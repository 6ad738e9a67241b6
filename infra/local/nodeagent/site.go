package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// initTimeout bounds the making of a new data directory.
const initTimeout = 2 * time.Minute

// site is where a database runs: its volume's directory, its container's variables, its user, and where its processes are recorded.
type site struct {
	volume string
	env    map[string]string
	as     Identity
	log    string
	procs  *records
}

// holds tells whether data holds a database, whose directory has the file marker, and ends what still works in it. A directory that
// is empty or missing holds none; any other is an error.
func (s *site) holds(data, marker string) (bool, error) {
	es, err := os.ReadDir(data)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return false, err
	case len(es) == 0:
		return false, nil
	}
	if _, err := os.Stat(filepath.Join(data, marker)); err != nil {
		return false, fmt.Errorf("data directory is not empty and holds no database: %w", err)
	}
	// Nobody else may use this volume: it is attached here, and the pod before this one has ended. What is left runs by mistake.
	if err := eachUserDead(data); err != nil {
		return false, fmt.Errorf("processes of an earlier server: %w", err)
	}
	return true, nil
}

// initialise has fill make a database beside data and gives it that name when it is complete, so that a killed attempt leaves nothing
// that looks like one.
func (s *site) initialise(ctx context.Context, data string, fill func(ctx context.Context, tmp string) error) error {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	tmp := data + ".new"
	if err := s.fresh(tmp); err != nil {
		return err
	}
	if err := fill(ctx, tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(data); err != nil { // it is empty
		return err
	}
	return os.Rename(tmp, data)
}

// fresh makes a directory of the server's user, empty.
func (s *site) fresh(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return s.as.own(dir, false)
}

// tool runs a program to its end, as the server's user.
func (s *site) tool(ctx context.Context, c command) error {
	c.as, c.log = s.as, s.log
	ch, err := s.procs.run(c)
	if err != nil {
		return err
	}
	select {
	case <-ch.exited():
	case <-ctx.Done():
		ch.kill()
		return context.Cause(ctx)
	}
	if ch.failed {
		return ch.err()
	}
	return nil
}
