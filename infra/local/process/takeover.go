package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// record is one running process as the state file holds it.
type record struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Start identifies the process beyond its ID: see Identity.
	Start string        `json:"start"`
	Path  string        `json:"path"`
	Grace time.Duration `json:"grace"`
}

// TakeOver ends what an earlier run that crashed has left running, in reverse order, and returns the names. A process whose ID
// was given to another since is left alone.
func (m *Manager) TakeOver(ctx context.Context) ([]string, error) {
	left, err := readRecords(m.file)
	if err != nil {
		return nil, err
	}
	slices.Reverse(left)
	var names []string
	for _, r := range left {
		if !Alive(r.PID, r.Start) {
			continue
		}
		names = append(names, r.Name)
		if err := end(ctx, r); err != nil {
			return names, err
		}
	}
	return names, m.save()
}

// end stops a process that is not our child.
func end(ctx context.Context, r record) error {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !Alive(r.PID, r.Start) {
			return nil
		}
		if err := killGroup(r.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s (process %d) of an earlier run: %w", r.Name, r.PID, err)
		}
		wait, cancel := context.WithTimeout(ctx, min(max(r.Grace, time.Second), 10*time.Second))
		awaitExit(wait, r.PID, r.Start)
		cancel()
	}
	if Alive(r.PID, r.Start) {
		return fmt.Errorf("%s (process %d) of an earlier run does not end", r.Name, r.PID)
	}
	return nil
}

// Alive reports whether the process with this ID is running and is still the one that had this identity.
func Alive(pid int, identity string) bool {
	now, err := Identity(pid)
	return err == nil && identity != "" && now == identity
}

// killGroup signals a process group. Negative numbers address groups; 0 and 1 would address ourselves or everybody.
func killGroup(pid int, s syscall.Signal) error {
	if pid <= 1 {
		return fmt.Errorf("process ID %d is not that of a child", pid)
	}
	return syscall.Kill(-pid, s)
}

func readRecords(file string) ([]record, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []record
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s does not hold process records: %w", file, err)
	}
	return all, nil
}

// writeRecords replaces the file as a whole, so that a crash leaves the old or the new one.
func writeRecords(file string, all []record) error {
	if all == nil {
		all = []record{}
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o711); err != nil {
		return err
	}
	tmp := file + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
