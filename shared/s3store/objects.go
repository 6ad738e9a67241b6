// Package s3store keeps in S3 what a local run keeps in files: plans, inventories, journals and reports. It holds no
// Kubernetes code, so that a function without a cluster links none.
package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
)

// S3 is what the adapters ask of S3; *s3.Client is one.
type S3 interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// location is s3://bucket/key.
type location struct{ bucket, key string }

// parseURI takes s3://bucket/key apart; the key has no leading or trailing slash.
func parseURI(uri string) (location, error) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	bucket, key, _ := strings.Cut(rest, "/")
	key = strings.TrimSuffix(key, "/")
	if !ok || bucket == "" || key == "" || path.Clean("/"+key) != "/"+key {
		return location{}, fmt.Errorf("%q: expected s3://bucket/key, a function has no files", uri)
	}
	return location{bucket, key}, nil
}

func (l location) String() string { return "s3://" + l.bucket + "/" + l.key }

// beside is what a relative path names from the object's own place.
func (l location) beside(relative string) (location, error) {
	key := path.Join(path.Dir(l.key), relative)
	if path.IsAbs(relative) || key == ".." || strings.HasPrefix(key, "../") || key == "." {
		return location{}, fmt.Errorf("%q: expected s3://bucket/prefix, or a path relative to %s within its bucket", relative, l)
	}
	return location{l.bucket, key}, nil
}

// errTooLarge is an object that has more bytes than it may have.
var errTooLarge = errors.New("it is larger than it may be")

// get reads an object of at most limit bytes. Errors are S3's own.
func get(ctx context.Context, c S3, l location, limit int64) ([]byte, error) {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(l.bucket), Key: aws.String(l.key)})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w: expected at most %d bytes", l, errTooLarge, limit)
	}
	return data, nil
}

// errTaken: the object exists already.
var errTaken = errors.New("the object exists already")

// conflicts is how often a write that met another conditional write of the same object at the same moment is repeated.
const conflicts = 5

// create writes an object that must not exist; errTaken when it does. Another conditional write under way is answered by S3
// with 409, and one that came first with 412
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
func create(ctx context.Context, c S3, l location, content []byte, contentType string) error {
	var err error
	for range conflicts {
		_, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(l.bucket), Key: aws.String(l.key), Body: bytes.NewReader(content),
			ContentType: aws.String(contentType), IfNoneMatch: aws.String("*")})
		switch {
		case err == nil:
			return nil
		case code(err) == "PreconditionFailed" || status(err) == http.StatusPreconditionFailed:
			return errTaken
		case code(err) != "ConditionalRequestConflict":
			return err
		}
	}
	return err
}

// code is the error code that S3 answered with, or "".
func code(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// status is the HTTP status that S3 answered with, or 0.
func status(err error) int {
	if r := (*awshttp.ResponseError)(nil); errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// missing tells that S3 said there is no such object or bucket. A 404 to HEAD has no code.
func missing(err error) bool { return status(err) == http.StatusNotFound }

// classified is awsfault.Fault with the operation named.
func classified(op string, l location, err error) error {
	return awsfault.Fault(op+" "+l.String(), err)
}

// runKey is the key of one of a run's files.
func runKey(runID string, name ...string) (string, error) {
	for _, part := range append([]string{runID}, name...) {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\\\x00") {
			return "", fmt.Errorf("run %q, name %q: expected plain names", runID, name)
		}
	}
	return path.Join(append([]string{"runs", runID}, name...)...), nil
}
