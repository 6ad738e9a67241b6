package backup

import (
	"context"
	"fmt"
	"io"
	"sync"

	"fallbackchain.io/fallback/shared/backup"
)

// counting tells how far a verification came.
type counting struct {
	backup.Store
	mu      sync.Mutex
	objects int
	bytes   int64
	last    backup.Object
}

// Open counts the object and what is read of it.
func (c *counting) Open(ctx context.Context, o backup.Object) (io.ReadCloser, error) {
	r, err := c.Store.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return r, nil // the time is over: nothing comes of it any more
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects++
	c.last = o
	return &counted{r, c}, nil
}

func (c *counting) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.objects == 0 {
		return "no object was opened yet"
	}
	return fmt.Sprintf("%d objects opened, %d bytes read, the last of %s (%d bytes)", c.objects, c.bytes, c.last.Key, c.last.Size)
}

type counted struct {
	io.ReadCloser
	c *counting
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.c.mu.Lock()
	r.c.bytes += int64(n)
	r.c.mu.Unlock()
	return n, err
}
