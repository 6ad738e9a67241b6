package s3store

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"path"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Reports is a report.Store in S3: runs/<run ID>/<name>.
type Reports struct {
	S3     S3
	Bucket string
}

// Put writes the file, reads it back and returns its URI. A file that is there already is replaced: the janitor writes the
// report of a run anew.
func (r Reports) Put(ctx context.Context, runID, name string, content []byte) (string, error) {
	key, err := runKey(runID, name)
	if err != nil {
		return "", err
	}
	l := location{r.Bucket, key}
	if _, err := r.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(l.bucket), Key: aws.String(l.key),
		Body: bytes.NewReader(content), ContentType: aws.String(contentType(name))}); err != nil {
		return "", classified("write", l, err)
	}
	back, err := get(ctx, r.S3, l, int64(len(content)))
	if err != nil {
		return "", classified("read back", l, err)
	}
	if !bytes.Equal(back, content) {
		return "", fmt.Errorf("%s: what was read back is not what was written", l)
	}
	return l.String(), nil
}

// contentType lets a browser show the report instead of saving it.
func contentType(name string) string {
	if path.Ext(name) == ".md" {
		return "text/markdown; charset=utf-8"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}
