package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Bundle is an open manifest bundle. Nothing in it is trusted before it was verified.
type Bundle struct {
	Manifest
	// Digest is "sha256:<hex>" of bundle.json; it pins the whole bundle, which has the digests of the rest.
	Digest string
	fsys   fs.FS
	root   *os.Root
	// inMemory bundles have objects instead of files.
	inMemory bool
	objects  []*unstructured.Unstructured
}

// Open reads bundle.json from the root of a file system.
func Open(fsys fs.FS) (*Bundle, error) {
	data, err := readBounded(fsys, ManifestFile, ManifestLimit)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(data)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	return &Bundle{Manifest: *m, Digest: "sha256:" + hex.EncodeToString(sum[:]), fsys: fsys}, nil
}

// OpenDir opens a bundle in a directory; no link in it leads out of the directory. Close it after use.
func OpenDir(dir string) (*Bundle, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	b, err := Open(root.FS())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inventory %s: %w", dir, err), root.Close())
	}
	b.root = root
	return b, nil
}

// Close releases the directory.
func (b *Bundle) Close() error {
	if b.root == nil {
		return nil
	}
	return b.root.Close()
}

var (
	errDigest = errors.New("its digest is not the one in " + ManifestFile)
	errSize   = errors.New("its size is not the one in " + ManifestFile)
	errKind   = errors.New("it is not a regular file")
)

// read returns the bytes of a file of the bundle, which are the ones that bundle.json names.
func (b *Bundle) read(f File) ([]byte, error) {
	data, err := readBounded(b.fsys, f.Path, f.Bytes)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != f.Bytes {
		return nil, errSize
	}
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != f.SHA256 {
		return nil, errDigest
	}
	return data, nil
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(fsys fs.FS, path string, limit int64) ([]byte, error) {
	// Lstat, because a link could point at something that changes after it was verified.
	info, err := fs.Lstat(fsys, path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, errKind)
	}
	if info.Size() > limit {
		return nil, errSize
	}
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, errSize
	}
	return data, nil
}
