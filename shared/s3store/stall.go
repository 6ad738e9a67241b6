package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// stallLimit is how long a server that has been asked for an object may send nothing. A network that lost the connection, and a
// server that hangs, do not end by themselves: without a limit one object takes the whole time that a step has.
const stallLimit = 10 * time.Second

// stalled ends a request that gets nothing any more.
type stalled struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	ctx    context.Context // of this one request

	mu   sync.Mutex
	read bool // somebody waits for bytes: time in which nobody asks for any is not the server's
}

func newStalled(ctx context.Context, limit time.Duration) *stalled {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stalled{limit: limit, cancel: cancel, ctx: ctx, read: true}
	s.timer = time.AfterFunc(limit, s.expire)
	return s
}

func (s *stalled) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read {
		s.cancel(stallError{s.limit})
	}
}

// waits tells that bytes are asked for from now on, or that they are no longer.
func (s *stalled) waits(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = yes
	if yes {
		s.timer.Reset(s.limit)
	} else {
		s.timer.Stop()
	}
}

// end frees the request.
func (s *stalled) end() {
	s.waits(false)
	s.cancel(nil)
}

// told is the error of a request: that it got nothing, when this is why it ended.
func (s *stalled) told(err error) error {
	var stall stallError
	if err != nil && errors.As(context.Cause(s.ctx), &stall) {
		return stall
	}
	return err
}

// stallError: the server sent nothing for a time.
type stallError struct{ limit time.Duration }

func (e stallError) Error() string {
	return fmt.Sprintf("the server sent nothing for %s", e.limit)
}

// guarded is a body that ends when nothing comes.
type guarded struct {
	io.ReadCloser
	s *stalled
}

func (g *guarded) Read(p []byte) (int, error) {
	g.s.waits(true)
	n, err := g.ReadCloser.Read(p)
	g.s.waits(false)
	return n, g.s.told(err)
}

func (g *guarded) Close() error {
	defer g.s.end()
	return g.ReadCloser.Close()
}
