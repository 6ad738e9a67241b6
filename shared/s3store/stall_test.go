package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/backup/objectstore"
)

// TestStall: a server that sends nothing any more is given up, whether it has begun to answer or not; one that is slow, and a reader that
// takes its time, are not.
func TestStall(t *testing.T) {
	const limit = 300 * time.Millisecond
	for _, tc := range []struct {
		name string
		// before and between are how many times limit/3 the server waits before its headers and before each of its four bytes; -1: for ever.
		before, between, reader int
		stalls                  bool
	}{
		{"at once", 0, 0, 0, false},
		{"no headers", -1, 0, 0, true},
		{"no body", 0, -1, 0, true},
		{"slow, but it goes on", 1, 1, 0, false},
		{"a slow reader", 0, 0, 4, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			done := make(chan struct{})
			pause := func(gone <-chan struct{}, n int) {
				switch {
				case n < 0:
					<-gone
				case n > 0:
					select {
					case <-time.After(time.Duration(n) * limit / 3):
					case <-done:
					}
				}
			}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				pause(r.Context().Done(), tc.before)
				w.Header().Set("Content-Length", "4")
				w.WriteHeader(http.StatusOK)
				for range 4 {
					_ = http.NewResponseController(w).Flush()
					pause(r.Context().Done(), tc.between)
					fmt.Fprint(w, "x")
				}
			}))
			defer srv.Close()
			defer close(done)
			c := s3.New(s3.Options{BaseEndpoint: &srv.URL, Region: "eu-west-1", UsePathStyle: true,
				Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), RetryMaxAttempts: 1})
			b, err := NewBackups(c, "s3://bucket/prefix")
			if err != nil {
				t.Fatal(err)
			}
			b.stall = limit
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			data, err := slowly(ctx, b, time.Duration(tc.reader)*limit/3)
			if !tc.stalls {
				if err != nil || data != "xxxx" {
					t.Errorf("%q, %v", data, err)
				}
				return
			}
			var stall stallError
			if !errors.As(err, &stall) || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "bucket/prefix/key: ") {
				t.Errorf("got %v, want %v", err, stallError{limit})
			}
		})
	}
}

// slowly reads an object byte by byte with a pause behind the first.
func slowly(ctx context.Context, b *Backups, pause time.Duration) (string, error) {
	r, err := b.Open(ctx, objectstore.Object{Key: "key", Size: 4, Version: "v"})
	if err != nil {
		return "", err
	}
	defer r.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil {
		return "", err
	}
	if pause > 0 {
		<-time.After(pause)
	}
	rest, err := io.ReadAll(r)
	return string(first) + string(rest), err
}
