package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// FileName is the journal's name in a run's directory.
const FileName = "journal.jsonl"

// Files is a Store of one directory per run: <Dir>/<run ID>/journal.jsonl, one JSON line a record, synced after each.
type Files struct {
	Dir string

	mu   sync.Mutex
	open map[string]*file
}

type record struct {
	Intent *Intent `json:"intent,omitempty"`
	Done   *Done   `json:"done,omitempty"`
	Undone *Undone `json:"undone,omitempty"`
}

type file struct {
	path string
	mu   sync.Mutex
}

// Open returns the run's journal; the same object for the same run, so that all writers share one lock.
func (s *Files) Open(_ context.Context, runID string) (Journal, error) {
	if runID == "" || filepath.Base(runID) != runID || runID == "." || runID == ".." {
		return nil, fmt.Errorf("run ID %q is not a plain name", runID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.open[runID]; ok {
		return f, nil
	}
	dir := filepath.Join(s.Dir, runID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal of run %s: %w", runID, err)
	}
	if s.open == nil {
		s.open = map[string]*file{}
	}
	f := &file{path: filepath.Join(dir, FileName)}
	s.open[runID] = f
	return f, nil
}

// append writes one line and syncs it. A torn last line (the process died in mid write) is cut off first: it was never
// acknowledged, so no change was made on the strength of it.
func (f *file) append(r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	w, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	end, err := wholeLines(w)
	if err != nil {
		return err
	}
	if err := w.Truncate(end); err != nil {
		return err
	}
	if _, err := w.WriteAt(append(b, '\n'), end); err != nil {
		// What could be written of a full disk's last line is cut off again, so that the file stays readable.
		return errors.Join(err, w.Truncate(end))
	}
	return w.Sync()
}

// wholeLines is the offset behind the last newline.
func wholeLines(r io.ReadSeeker) (int64, error) {
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	const chunk = 4096
	for end := size; end > 0; {
		start := max(0, end-chunk)
		if _, err := r.Seek(start, io.SeekStart); err != nil {
			return 0, err
		}
		buf := make([]byte, end-start)
		if _, err := io.ReadFull(r, buf); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

func (f *file) Intend(_ context.Context, i Intent) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	es, err := f.entries()
	if err != nil {
		return 0, err
	}
	i.Seq = len(es) + 1
	return i.Seq, f.append(record{Intent: &i})
}

func (f *file) Done(_ context.Context, d Done) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.append(record{Done: &d})
}

func (f *file) Undone(_ context.Context, u Undone) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.append(record{Undone: &u})
}

func (f *file) Entries(context.Context) ([]Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries()
}

func (f *file) entries() ([]Entry, error) {
	r, err := os.Open(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return decode(r)
}

// decode reads whole lines; a last line without a newline is a torn write and is left out.
func decode(r io.Reader) ([]Entry, error) {
	var out []Entry
	br := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		var rec record
		if err := json.Unmarshal(line, &rec); err != nil {
			return nil, fmt.Errorf("journal line %d: %w", n, err)
		}
		at := func(seq int) (*Entry, error) {
			if seq < 1 || seq > len(out) {
				return nil, fmt.Errorf("journal line %d: there is no intent %d", n, seq)
			}
			return &out[seq-1], nil
		}
		switch {
		case rec.Intent != nil:
			if rec.Intent.Seq != len(out)+1 {
				return nil, fmt.Errorf("journal line %d: intent %d where %d was expected", n, rec.Intent.Seq, len(out)+1)
			}
			out = append(out, Entry{Intent: *rec.Intent})
		case rec.Done != nil:
			e, err := at(rec.Done.Seq)
			if err != nil {
				return nil, err
			}
			e.Done = rec.Done
		case rec.Undone != nil:
			e, err := at(rec.Undone.Seq)
			if err != nil {
				return nil, err
			}
			e.Undone = rec.Undone
		default:
			return nil, fmt.Errorf("journal line %d holds no record", n)
		}
	}
}
