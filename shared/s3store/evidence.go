package s3store

import (
	"bytes"
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// evidenceLimit is the most that is read of one file of evidence.
const evidenceLimit = 16 << 20

// Evidence is a step.Evidence in S3, beside the journal: runs/<run ID>/evidence/<name>.
type Evidence struct {
	S3     S3
	Bucket string
}

// Put writes the file; one that is there already is replaced, because a step may be called again.
func (e Evidence) Put(ctx context.Context, runID, name string, data []byte) (string, error) {
	key, err := runKey(runID, "evidence", name)
	if err != nil {
		return "", err
	}
	l := location{e.Bucket, key}
	if _, err := e.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(l.bucket), Key: aws.String(l.key),
		Body: bytes.NewReader(data), ContentType: aws.String(contentType(name))}); err != nil {
		return "", classified("write", l, err)
	}
	return l.String(), nil
}

// Get reads the file.
func (e Evidence) Get(ctx context.Context, runID, name string) ([]byte, error) {
	key, err := runKey(runID, "evidence", name)
	if err != nil {
		return nil, err
	}
	l := location{e.Bucket, key}
	data, err := get(ctx, e.S3, l, evidenceLimit)
	if err != nil {
		return nil, classified("read", l, err)
	}
	return data, nil
}
