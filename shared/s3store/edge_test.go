package s3store

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// edge is S3 with what can go wrong on the way. before is asked ahead of a PUT, after behind it; their error is the caller's.
type edge struct {
	S3
	mu            sync.Mutex
	before, after func(key string) error
	gets, lists   int
}

func (e *edge) PutObject(ctx context.Context, in *s3.PutObjectInput, o ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	ask := func(f func(string) error) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if f == nil {
			return nil
		}
		return f(*in.Key)
	}
	if err := ask(e.before); err != nil {
		return nil, err
	}
	out, err := e.S3.PutObject(ctx, in, o...)
	if err != nil {
		return nil, err
	}
	if err := ask(e.after); err != nil {
		return nil, err
	}
	return out, nil
}

func (e *edge) GetObject(ctx context.Context, in *s3.GetObjectInput, o ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	e.mu.Lock()
	e.gets++
	e.mu.Unlock()
	return e.S3.GetObject(ctx, in, o...)
}

func (e *edge) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, o ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	e.lists++
	in.MaxKeys = aws.Int32(3) // pages, which a small journal never has
	return e.S3.ListObjectsV2(ctx, in, o...)
}

// atomically makes a conditional write one step, as it is in S3; moto's threads look and write in two.
type atomically struct {
	S3
	mu sync.Mutex
}

func (a *atomically) PutObject(ctx context.Context, in *s3.PutObjectInput, o ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.S3.PutObject(ctx, in, o...)
}

// retrying sends a PUT whose answer was lost once more.
type retrying struct{ S3 }

func (r retrying) PutObject(ctx context.Context, in *s3.PutObjectInput, o ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body := in.Body
	out, err := r.S3.PutObject(ctx, in, o...)
	if err != nil && code(err) == "" {
		if s, ok := body.(interface {
			Seek(int64, int) (int64, error)
		}); ok {
			_, _ = s.Seek(0, 0)
		}
		return r.S3.PutObject(ctx, in, o...)
	}
	return out, err
}
