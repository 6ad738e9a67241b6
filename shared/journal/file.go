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
	// size of the file after this process's last write, and intents in it then: a journal of thousands of entries is not read
	// again for each, unless another process has written to it. 0: not known.
	size    int64
	intents int
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
	f.size = 0
	b = append(b, '\n')
	if _, err := w.WriteAt(b, end); err != nil {
		// What could be written of a full disk's last line is cut off again, so that the file stays readable.
		return errors.Join(err, w.Truncate(end))
	}
	if err := w.Sync(); err != nil {
		return err
	}
	f.size = end + int64(len(b))
	return nil
}

// counted is how many intents the file has.
func (f *file) counted() (int, error) {
	if info, err := os.Stat(f.path); err == nil && f.size > 0 && info.Size() == f.size {
		return f.intents, nil
	}
	es, err := f.entries()
	return len(es), err
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
	n, err := f.counted()
	if err != nil {
		return 0, err
	}
	i.Seq = n + 1
	f.intents = n // until the append has succeeded
	if err := f.append(record{Intent: &i}); err != nil {
		return i.Seq, err
	}
	f.intents++
	return i.Seq, nil
}

func (f *file) Done(_ context.Context, d Done) error {
	return f.result(record{Done: &d})
}

func (f *file) Undone(_ context.Context, u Undone) error {
	return f.result(record{Undone: &u})
}

// result appends a record that is no intent.
func (f *file) result(r record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	known := err == nil && f.size > 0 && info.Size() == f.size
	if err := f.append(r); err != nil {
		return err
	}
	if !known {
		f.size = 0 // somebody else wrote too: the intents are counted again
	}
	return nil
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
