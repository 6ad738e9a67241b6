package s3store

import (
	"bytes"
	"context"
	"errors"
)

// Claims keeps one document a run and name, runs/<run ID>/<name>, which the first writer writes and nobody changes.
type Claims struct {
	S3     S3
	Bucket string
}

// maxClaim bounds a document.
const maxClaim = 64 << 10

// Take writes the document unless there is one. first tells whether the one that is there is this one: the SDK may have sent the write
// again after its answer was lost. So documents of two tries have to differ, as by their time.
func (c Claims) Take(ctx context.Context, runID, name string, document []byte) (first bool, err error) {
	key, err := runKey(runID, name)
	if err != nil {
		return false, err
	}
	l := location{c.Bucket, key}
	err = create(ctx, c.S3, l, document, "application/json")
	if !errors.Is(err, errTaken) {
		return err == nil, classified("write", l, err)
	}
	have, err := get(ctx, c.S3, l, maxClaim)
	if err != nil {
		return false, classified("read", l, err)
	}
	return bytes.Equal(have, document), nil
}
