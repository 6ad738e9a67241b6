package report

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Store keeps a run's files. Put replaces a file at once, reads it back and returns where it is.
type Store interface {
	Put(ctx context.Context, runID, name string, content []byte) (uri string, err error)
}

// Directory is a Store of one directory a run, files readable by their owner only.
type Directory struct{ Dir string }

// Put writes <Dir>/<run ID>/<name>.
func (d Directory) Put(_ context.Context, runID, name string, content []byte) (string, error) {
	if runID == "" || filepath.Base(runID) != runID || filepath.Base(name) != name {
		return "", fmt.Errorf("run ID %q, file %q: expected plain names", runID, name)
	}
	dir := filepath.Join(d.Dir, runID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if err := os.Rename(f.Name(), path); err != nil {
		return "", err
	}
	back, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(back, content) {
		return "", fmt.Errorf("%s: what was read back is not what was written", path)
	}
	return path, nil
}

// Digest of content as "sha256:<hex>".
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
