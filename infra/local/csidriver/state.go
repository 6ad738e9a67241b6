package csidriver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// volume is one directory. Its ID derives from the requested name, so a repeated request finds it.
type volume struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Zones are those the volume is reachable from: all that were asked for, as a regional disk.
	Zones        []string `json:"zones"`
	SizeBytes    int64    `json:"sizeBytes"`
	FromSnapshot string   `json:"fromSnapshot,omitempty"`
	FromVolume   string   `json:"fromVolume,omitempty"`
	// Nodes maps the node the volume is attached to, to whether it is read-only there. There is at most one.
	Nodes map[string]bool `json:"nodes,omitempty"`
}

// snapshot is one copy of a volume's directory.
type snapshot struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Volume    string    `json:"volume"`
	SizeBytes int64     `json:"sizeBytes"`
	TakenAt   time.Time `json:"takenAt"`
}

// records is what the driver knows; it is the whole content of the state file.
type records struct {
	Volumes   map[string]*volume   `json:"volumes"`
	Snapshots map[string]*snapshot `json:"snapshots"`
}

func (r *records) claimed() int64 {
	var n int64
	for _, v := range r.Volumes {
		n += v.SizeBytes
	}
	return n
}

// store keeps the records in memory and in a file that is replaced as a whole.
type store struct {
	mu   sync.Mutex
	path string
	rec  records
}

func openStore(path string) (*store, error) {
	s := &store{path: path}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("csidriver: state: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, &s.rec); err != nil {
			return nil, fmt.Errorf("csidriver: state file %s is not what this driver wrote: %w", path, err)
		}
	}
	if s.rec.Volumes == nil {
		s.rec.Volumes = map[string]*volume{}
	}
	if s.rec.Snapshots == nil {
		s.rec.Snapshots = map[string]*snapshot{}
	}
	return s, nil
}

// read runs fn on the records, which it must not change.
func (s *store) read(fn func(*records) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fn(&s.rec)
}

// update runs fn on a copy of the records and keeps the copy only when it is on disk: memory and file never differ.
func (s *store) update(fn func(*records) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := json.Marshal(s.rec)
	if err != nil {
		return err
	}
	next := records{Volumes: map[string]*volume{}, Snapshots: map[string]*snapshot{}}
	if err := json.Unmarshal(before, &next); err != nil {
		return err
	}
	if err := fn(&next); err != nil {
		return err
	}
	b, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(s.path, b); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	s.rec = next
	return nil
}

// writeFile replaces path as a whole: a reader, or a start after a crash, sees the old content or the new one.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// handle derives an ID from a name, as long and as opaque as the ones of real storage systems.
func handle(prefix, name string) string {
	h := sha256.Sum256([]byte(name))
	return prefix + hex.EncodeToString(h[:])[:17]
}
