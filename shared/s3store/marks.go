package s3store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Marks keeps one JSON document a run, runs/<run ID>/<Name>, which each Save replaces. It is for one writer at a time.
type Marks struct {
	S3     S3
	Bucket string
	Name   string
}

// maxMark bounds a document: a run's state (run.PayloadLimit) and a little more.
const maxMark = 1 << 20

// Load decodes the run's document into v; v stays as it is when there is none.
func (m Marks) Load(ctx context.Context, runID string, v any) error {
	key, err := runKey(runID, m.Name)
	if err != nil {
		return err
	}
	l := location{m.Bucket, key}
	b, err := get(ctx, m.S3, l, maxMark)
	if missing(err) {
		return nil
	}
	if err != nil {
		return classified("read", l, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", l, err)
	}
	return nil
}

// Save writes v as the run's document.
func (m Marks) Save(ctx context.Context, runID string, v any) error {
	key, err := runKey(runID, m.Name)
	if err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l := location{m.Bucket, key}
	_, err = m.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(l.bucket), Key: aws.String(l.key),
		Body: bytes.NewReader(b), ContentType: aws.String("application/json")})
	return classified("write", l, err)
}
