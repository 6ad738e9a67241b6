package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/backup/objectstore"
)

// BackupsS3 is what the store of backups asks of S3; *s3.Client is one.
type BackupsS3 interface {
	S3
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
}

// Backups is the place of Velero's backups: s3://bucket[/prefix] as in the BackupStorageLocation. Requests are repeated as the SDK
// does; a body that breaks off is not.
type Backups struct {
	s3          BackupsS3
	bucket, key string
	stall       time.Duration

	mu sync.Mutex
	// plain: the server does not list versions, or does not allow it.
	plain bool
}

var _ objectstore.Sealing = (*Backups)(nil)

// NewBackups returns the store of s3://bucket[/prefix]. Nothing is sent.
func NewBackups(c BackupsS3, uri string) (*Backups, error) {
	bucket, key, err := parsePrefix(uri)
	if err != nil {
		return nil, fmt.Errorf("location %w", err)
	}
	return &Backups{s3: c, bucket: bucket, key: key, stall: stallLimit}, nil
}

// full is the object's key in the bucket; below, the part of keys that is not the store's.
func (b *Backups) full(key string) string {
	if b.key == "" {
		return key
	}
	return b.key + "/" + key
}

func (b *Backups) relative(key *string) string {
	if b.key == "" {
		return aws.ToString(key)
	}
	return strings.TrimPrefix(aws.ToString(key), b.key+"/")
}

// List returns the objects below a prefix with their current versions, sorted by key. Where versions cannot be listed (no permission
// s3:ListBucketVersions, or a server that has none) it lists objects and asks for each one's version.
func (b *Backups) List(ctx context.Context, prefix string) ([]objectstore.Object, error) {
	b.mu.Lock()
	plain := b.plain
	b.mu.Unlock()
	if !plain {
		out, err := b.versions(ctx, prefix)
		if err == nil || !withoutVersions(err) {
			return out, b.plainly("list", prefix, err)
		}
		b.mu.Lock()
		b.plain = true
		b.mu.Unlock()
	}
	out, err := b.objects(ctx, prefix)
	return out, b.plainly("list", prefix, err)
}

// withoutVersions tells that a server refuses or does not know ListObjectVersions; listing objects may still be allowed.
func withoutVersions(err error) bool {
	switch status(err) {
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
		return true
	}
	return false
}

func (b *Backups) versions(ctx context.Context, prefix string) ([]objectstore.Object, error) {
	var out []objectstore.Object
	in := &s3.ListObjectVersionsInput{Bucket: aws.String(b.bucket), Prefix: aws.String(b.full(prefix))}
	for {
		page, err := b.s3.ListObjectVersions(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, v := range page.Versions {
			if !aws.ToBool(v.IsLatest) { // a delete marker that is the latest is in a list of its own: the object does not exist
				continue
			}
			out = append(out, objectstore.Object{Key: b.relative(v.Key), Size: aws.ToInt64(v.Size), ETag: strings.Trim(aws.ToString(v.ETag), `"`),
				Version: version(v.VersionId), Modified: aws.ToTime(v.LastModified).UTC()})
		}
		if !aws.ToBool(page.IsTruncated) {
			return sorted(out), nil
		}
		if next := aws.ToString(page.NextKeyMarker); next == "" || (next == aws.ToString(in.KeyMarker) && aws.ToString(page.NextVersionIdMarker) == aws.ToString(in.VersionIdMarker)) {
			return nil, errors.New("the server says that there is more and does not say where")
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
}

// version leaves "null" out: the version of what was written while the bucket kept none, which is no version to ask for
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html).
func version(id *string) string {
	if v := aws.ToString(id); v != "null" {
		return v
	}
	return ""
}

func (b *Backups) objects(ctx context.Context, prefix string) ([]objectstore.Object, error) {
	var out []objectstore.Object
	in := &s3.ListObjectsV2Input{Bucket: aws.String(b.bucket), Prefix: aws.String(b.full(prefix))}
	for {
		page, err := b.s3.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			out = append(out, objectstore.Object{Key: b.relative(o.Key), Size: aws.ToInt64(o.Size), ETag: strings.Trim(aws.ToString(o.ETag), `"`), Modified: aws.ToTime(o.LastModified).UTC()})
		}
		if page.NextContinuationToken == nil {
			break
		}
		in.ContinuationToken = page.NextContinuationToken
	}
	out = sorted(out)
	return out, b.heads(ctx, out)
}

// heads asks for the objects' versions. An object that is gone by now, or another one, is left as it was listed: opening it tells.
func (b *Backups) heads(ctx context.Context, objects []objectstore.Object) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(objects))
	var wg sync.WaitGroup
	slots := make(chan struct{}, readers)
	for i := range objects {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out, err := b.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(b.full(objects[i].Key))})
			switch {
			case err != nil && !missing(err) && status(err) != http.StatusForbidden:
				errs[i] = err
				cancel()
			case err == nil && strings.Trim(aws.ToString(out.ETag), `"`) == objects[i].ETag:
				objects[i].Version = version(out.VersionId)
			}
		})
	}
	wg.Wait()
	for _, err := range errs { // the one that ended the others
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

// sorted names each object once, its newest version: what is written while it is listed is met on two pages, and so is the last object
// of a page where a server (versitygw 1.8) begins the next one with it.
func sorted(objects []objectstore.Object) []objectstore.Object {
	slices.SortStableFunc(objects, func(a, b objectstore.Object) int {
		if d := strings.Compare(a.Key, b.Key); d != 0 {
			return d
		}
		return b.Modified.Compare(a.Modified)
	})
	return slices.CompactFunc(objects, func(a, b objectstore.Object) bool { return a.Key == b.Key })
}

// Open reads exactly the version that was listed; where there are no versions, the object whose ETag was. A server that sends nothing
// for a while is given up.
func (b *Backups) Open(ctx context.Context, o objectstore.Object) (io.ReadCloser, error) {
	in := &s3.GetObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(b.full(o.Key))}
	switch {
	case o.Version != "":
		in.VersionId = aws.String(o.Version)
	case o.ETag != "":
		in.IfMatch = aws.String(`"` + o.ETag + `"`)
	}
	stall := newStalled(ctx, b.stall)
	out, err := b.s3.GetObject(stall.ctx, in)
	if err != nil {
		err = stall.told(err)
		stall.end()
		return nil, b.plainly("get", o.Key, err)
	}
	stall.waits(false)
	if n := out.ContentLength; n != nil && *n != o.Size {
		_ = out.Body.Close() // nothing of it is wanted
		stall.end()
		return nil, fmt.Errorf("get %s: %w: it announces %d, the listing says %d", b.at(o.Key), objectstore.ErrLength, *n, o.Size)
	}
	return &exactly{body: &guarded{out.Body, stall}, size: o.Size, what: "get " + b.at(o.Key)}, nil
}

// Put writes an object that must not exist; fs.ErrExist when it does.
func (b *Backups) Put(ctx context.Context, key string, data []byte) error {
	err := create(ctx, b.s3, location{b.bucket, b.full(key)}, data, "application/json")
	if !errors.Is(err, errTaken) {
		return b.plainly("put", key, err)
	}
	// Ours, when the answer to the first try was lost and the client tried again.
	if have, rerr := get(ctx, b.s3, location{b.bucket, b.full(key)}, int64(len(data))); rerr == nil && bytes.Equal(have, data) {
		return nil
	}
	return &fs.PathError{Op: "put", Path: b.at(key), Err: fs.ErrExist}
}

func (b *Backups) at(key string) string { return "s3://" + path.Join(b.bucket, b.full(key)) }

// plainly gives S3's answers the errors of an objectstore; err is the SDK's.
func (b *Backups) plainly(op, key string, err error) error {
	what := op + " " + b.at(key)
	switch {
	case err == nil:
		return nil
	case code(err) == "NoSuchBucket":
		return fmt.Errorf("%s: there is no bucket %s: %w", what, b.bucket, fs.ErrNotExist)
	case missing(err), code(err) == "NoSuchKey", code(err) == "NoSuchVersion":
		return fmt.Errorf("%s: %w", what, fs.ErrNotExist)
	case status(err) == http.StatusPreconditionFailed:
		return fmt.Errorf("%s: %w", what, objectstore.ErrChanged)
	case status(err) == http.StatusForbidden, status(err) == http.StatusUnauthorized:
		return fmt.Errorf("%s: %s (%d): %w", what, code(err), status(err), fs.ErrPermission)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// exactly fails when a body is not as long as it must be.
type exactly struct {
	body io.ReadCloser
	n    int64
	size int64
	what string
}

func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.body.Read(p)
	e.n += int64(n)
	switch {
	case e.n > e.size,
		errors.Is(err, io.EOF) && e.n < e.size,
		errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("%s: %w: %d, the listing says %d", e.what, objectstore.ErrLength, e.n, e.size)
	case err != nil && !errors.Is(err, io.EOF):
		return n, fmt.Errorf("%s: after %d of %d bytes: %w", e.what, e.n, e.size, err)
	}
	return n, err
}

func (e *exactly) Close() error { return e.body.Close() }
