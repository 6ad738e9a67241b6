// Package backuptest builds Velero backups in memory for tests, whole ones and such as are broken in one place.
package backuptest

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3's ETag
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fallbackchain.io/fallback/shared/backup/objectstore"
)

// Fault is what a server does wrong when an object is read.
type Fault int

const (
	// Fine: nothing.
	Fine Fault = iota
	// Refused: 403.
	Refused
	// Stalled: no byte comes until the context ends.
	Stalled
	// Short and Long: fewer or more bytes come than were said.
	Short
	Long
	// Broken: the connection ends in the middle with an error.
	Broken
	// Gone: the object was deleted between the listing and the reading.
	Gone
)

// Store is an objectstore.Sealing in memory.
type Store struct {
	mu      sync.Mutex
	objects map[string]object
	faults  map[string]Fault
	opened  map[string]int
	list    error
	version int
	now     time.Time
}

type object struct {
	data     []byte
	version  string
	modified time.Time
}

var _ objectstore.Sealing = (*Store)(nil)

// NewStore holds the backups.
func NewStore(backups ...Spec) *Store {
	s := &Store{objects: map[string]object{}, faults: map[string]Fault{}, opened: map[string]int{}}
	for _, b := range backups {
		s.Add(b)
	}
	return s
}

// Add writes a backup's objects, each as a new version.
func (s *Store) Add(b Spec) {
	b = b.withDefaults()
	files := b.Files()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = b.Completed
	for _, k := range sortedKeys(files) {
		s.set(k, files[k])
	}
}

func (s *Store) set(key string, data []byte) {
	s.version++
	s.objects[key] = object{slices.Clone(data), "v" + strconv.Itoa(s.version), s.now}
}

// Set writes an object as a new version.
func (s *Store) Set(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(key, data)
}

// Get is an object's content; nil when there is none.
func (s *Store) Get(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.objects[key].data)
}

// Keys lists every object.
func (s *Store) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sortedKeys(s.objects)
}

// Delete removes an object.
func (s *Store) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}

// Truncate cuts an object to half, Extend appends a byte, Flip turns one bit at a position.
func (s *Store) Truncate(key string) { d := s.Get(key); s.Set(key, d[:len(d)/2]) }

// Extend appends a byte that belongs to nothing.
func (s *Store) Extend(key string) { s.Set(key, append(s.Get(key), 'x')) }

// Flip turns one bit of the byte at a position; a negative one counts from the end.
func (s *Store) Flip(key string, at int) {
	d := s.Get(key)
	if at < 0 {
		at += len(d)
	}
	d[at] ^= 1
	s.Set(key, d)
}

// Fault makes reading an object go wrong.
func (s *Store) Fault(key string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[key] = f
}

// FailList makes List fail.
func (s *Store) FailList(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = err
}

// Opened tells how often an object was opened.
func (s *Store) Opened(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened[key]
}

// List is objectstore.Store's.
func (s *Store) List(ctx context.Context, prefix string) ([]objectstore.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list != nil {
		return nil, s.list
	}
	var out []objectstore.Object
	for _, k := range sortedKeys(s.objects) {
		if strings.HasPrefix(k, prefix) {
			out = append(out, s.entry(k))
		}
	}
	return out, ctx.Err()
}

func (s *Store) entry(key string) objectstore.Object {
	o := s.objects[key]
	sum := md5.Sum(o.data) //nolint:gosec // S3's ETag
	return objectstore.Object{Key: key, Size: int64(len(o.data)), ETag: hex.EncodeToString(sum[:]), Version: o.version, Modified: o.modified}
}

// Open is objectstore.Store's.
func (s *Store) Open(ctx context.Context, o objectstore.Object) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened[o.Key]++
	have, ok := s.objects[o.Key]
	switch f := s.faults[o.Key]; {
	case !ok, f == Gone:
		return nil, &fs.PathError{Op: "open", Path: o.Key, Err: fs.ErrNotExist}
	case have.version != o.Version:
		return nil, fmt.Errorf("%s: %w", o.Key, objectstore.ErrChanged)
	case f == Refused:
		return nil, fmt.Errorf("AccessDenied (403): %w", fs.ErrPermission)
	case f == Stalled:
		return stalled{ctx}, nil
	case f == Short:
		return io.NopCloser(bytes.NewReader(have.data[:len(have.data)-1])), nil
	case f == Long:
		return io.NopCloser(io.MultiReader(bytes.NewReader(have.data), strings.NewReader("x"))), nil
	case f == Broken:
		return io.NopCloser(io.MultiReader(bytes.NewReader(have.data[:len(have.data)/2]), failing{})), nil
	}
	return io.NopCloser(bytes.NewReader(have.data)), nil
}

// Put is objectstore.Sealing's.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[key]; ok {
		return &fs.PathError{Op: "put", Path: key, Err: fs.ErrExist}
	}
	s.set(key, data)
	return nil
}

type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}
func (s stalled) Close() error { return nil }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, fmt.Errorf("read: connection reset by peer") }

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Load holds the objects of a directory: the keys are the paths.
func Load(fsys fs.FS, modified time.Time) (*Store, error) {
	s := NewStore()
	s.now = modified
	err := fs.WalkDir(fsys, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, path)
		if err != nil {
			return err
		}
		s.set(path, data)
		return nil
	})
	return s, err
}
