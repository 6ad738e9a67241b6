// Package objectstore is the place that backups are read from, as far as shared/backup needs it. It links no Kubernetes code, so
// that an adapter of it does not either.
package objectstore

import (
	"context"
	"errors"
	"io"
	"time"
)

// Object is one object of the bucket.
type Object struct {
	// Key is relative to the location, e.g. "backups/b1/b1.tar.gz".
	Key  string `json:"key"`
	Size int64  `json:"size"`
	ETag string `json:"etag,omitempty"`
	// Version is S3's version ID; empty where the bucket keeps none.
	Version  string    `json:"version,omitempty"`
	Modified time.Time `json:"modified,omitzero"`
}

// Store is a place of backups: s3://bucket/prefix. An object that does not exist is fs.ErrNotExist, a request that the server
// refuses (403) fs.ErrPermission.
type Store interface {
	// List returns the objects whose key begins with prefix, sorted by key, with their current versions.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Open reads exactly this version. Reading fails with ErrLength when the server sends fewer or more bytes than it said, and
	// Open with ErrChanged when the object is another one by now.
	Open(ctx context.Context, o Object) (io.ReadCloser, error)
}

// Sealing is a Store that manifests can be written to.
type Sealing interface {
	Store
	// Put writes an object that must not exist; fs.ErrExist when it does.
	Put(ctx context.Context, key string, data []byte) error
}

// Errors of a Store.
var (
	// ErrLength: the server sent another number of bytes than it said.
	ErrLength = errors.New("the server sent another number of bytes than it said")
	// ErrChanged: the object is not the one that was listed.
	ErrChanged = errors.New("the object was changed since it was listed")
)
