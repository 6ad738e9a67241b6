// Package runstore keeps the runs of this machine: one directory a run with the state after every step (checkpoint), the
// events, the journal and the report. It is what Step Functions' execution history is in AWS.
package runstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// Store is a directory of runs.
type Store struct{ Dir string }

// DefaultDir is $FALLBACK_STATE, else $XDG_STATE_HOME/fallback-chain/runs, else ~/.local/state/fallback-chain/runs.
func DefaultDir(getenv func(string) string) (string, error) {
	if d := getenv("FALLBACK_STATE"); d != "" {
		return filepath.Join(d, "runs"), nil
	}
	if d := getenv("XDG_STATE_HOME"); d != "" {
		return filepath.Join(d, "fallback-chain", "runs"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("where to keep runs: set FALLBACK_STATE: %w", err)
	}
	return filepath.Join(home, ".local", "state", "fallback-chain", "runs"), nil
}

// Checkpoint is the durable state between two steps.
type Checkpoint struct {
	// Next is the state that begins next; "" when the run has ended.
	Next string          `json:"next"`
	Run  json.RawMessage `json:"run"`
	At   time.Time       `json:"at"`
}

// End is how a run ended.
type End struct {
	Outcome run.Outcome `json:"outcome,omitempty"`
	// Terminal is the graph's last state; "Janitor" when the janitor finished the run.
	Terminal string    `json:"terminal"`
	Error    string    `json:"error,omitempty"`
	Cause    string    `json:"cause,omitempty"`
	At       time.Time `json:"at"`
	// Resolved is when a person cleared a Dirty run.
	Resolved *time.Time `json:"resolved,omitempty"`
}

// Saved is one run as it stands on disk.
type Saved struct {
	ID         string
	Dir        string
	Checkpoint Checkpoint
	Run        run.Run
	// End is nil while the run goes on, or when its process died.
	End *End
	// Alive tells whether a process still works on it.
	Alive bool
	// Requested tells whether an abort was asked for.
	AbortRequested bool
}

// Record is a run that this process works on. It holds the run's lock until Close.
type Record struct {
	ID   string
	dir  string
	lock *os.File
	mu   sync.Mutex
	// short is the first write that failed.
	short error
}

const (
	checkpointFile = "checkpoint.json"
	endFile        = "end.json"
	eventsFile     = "events.jsonl"
	lockFile       = "lock"
	abortFile      = "abort"
	reserveFile    = "reserve"
)

// ErrBusy means that another process works on the run.
var ErrBusy = errors.New("another process works on this run")

// ErrUnreadable means that the directory of runs itself cannot be read.
var ErrUnreadable = errors.New("the directory of runs cannot be read")

// Open takes the run for this process; the directory is made when it is not there.
func (s Store) Open(id string) (*Record, error) {
	if id == "" || filepath.Base(id) != id || strings.HasPrefix(id, ".") {
		return nil, fmt.Errorf("run ID %q is not a plain name", id)
	}
	dir := filepath.Join(s.Dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Record{ID: id, dir: dir, lock: f}, nil
}

// Close gives the reserve back and lets the run go.
func (r *Record) Close() error {
	_ = os.Remove(filepath.Join(r.dir, reserveFile))
	return r.lock.Close()
}

// Checkpoint makes the state durable before the next step begins.
func (r *Record) Checkpoint(c Checkpoint) error {
	return r.Keep(func() error { return writeJSON(filepath.Join(r.dir, checkpointFile), c) })
}

// Finish writes how the run ended.
func (r *Record) Finish(e End) error {
	return r.Keep(func() error { return writeJSON(filepath.Join(r.dir, endFile), e) })
}

// Event appends one event.
func (r *Record) Event(e any) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return r.Keep(func() error { return appendLine(filepath.Join(r.dir, eventsFile), b) })
}

// AbortRequested tells whether a person asked the run to stop.
func (r *Record) AbortRequested() bool {
	_, err := os.Stat(filepath.Join(r.dir, abortFile))
	return err == nil
}

// RequestAbort asks a run to stop; the process that works on it sees it between two steps.
func (s Store) RequestAbort(id string) error {
	return os.WriteFile(filepath.Join(s.Dir, id, abortFile), nil, 0o600)
}

// Load reads one run. A missing one is os.ErrNotExist.
func (s Store) Load(id string) (Saved, error) {
	out := Saved{ID: id, Dir: filepath.Join(s.Dir, id)}
	b, err := os.ReadFile(filepath.Join(out.Dir, checkpointFile))
	if err != nil {
		return out, fmt.Errorf("run %s: %w", id, err)
	}
	if err := json.Unmarshal(b, &out.Checkpoint); err != nil {
		return out, fmt.Errorf("run %s: checkpoint: %w", id, err)
	}
	if err := json.Unmarshal(out.Checkpoint.Run, &out.Run); err != nil {
		return out, fmt.Errorf("run %s: checkpoint: %w", id, err)
	}
	b, err = os.ReadFile(filepath.Join(out.Dir, endFile))
	switch {
	case err == nil:
		out.End = &End{}
		if err := json.Unmarshal(b, out.End); err != nil {
			return out, fmt.Errorf("run %s: end: %w", id, err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return out, err
	}
	_, err = os.Stat(filepath.Join(out.Dir, abortFile))
	out.AbortRequested = err == nil
	rec, err := s.Open(id)
	if err != nil {
		out.Alive = errors.Is(err, ErrBusy)
		return out, nil
	}
	return out, rec.Close()
}

// List reads all runs, oldest first. A run that cannot be read is left out of the list and named in the error.
func (s Store) List() ([]Saved, error) {
	es, err := os.ReadDir(s.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	var out []Saved
	var errs []error
	for _, e := range es {
		if !e.IsDir() {
			continue
		}
		sv, err := s.Load(e.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // died before its first checkpoint: nothing was begun
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, sv)
	}
	slices.SortFunc(out, func(a, b Saved) int { return a.Run.StartedAt.Compare(b.Run.StartedAt) })
	return out, errors.Join(errs...)
}

// Events reads a run's events.
func Events[E any](dir string) ([]E, error) {
	b, err := os.ReadFile(filepath.Join(dir, eventsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []E
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, "\n") {
			break // torn by a kill
		}
		var e E
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return out, fmt.Errorf("%s: %w", eventsFile, err)
		}
		out = append(out, e)
	}
	return out, nil
}

// appendLine appends one line. A part of it that a full disk left is cut off again, so that the file stays readable.
func appendLine(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return errors.Join(err, f.Truncate(at), f.Close())
	}
	return f.Close()
}

// writeJSON replaces a file at once and makes it durable.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
