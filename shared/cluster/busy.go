package cluster

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Busy measures for how long a run was waiting for the cluster or its database: the wall time during which at least one
// request, watch or connection to a pod was under way. What is left of a run's time is our own.
type Busy struct {
	mu     sync.Mutex
	active int
	since  time.Time
	total  time.Duration
}

// Enter begins an operation; the returned function ends it, once.
func (b *Busy) Enter() func() {
	if b == nil {
		return func() {}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active++; b.active == 1 {
		b.since = time.Now()
	}
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.active--; b.active == 0 {
			b.total += time.Since(b.since)
		}
	})
}

// Total is the time so far.
func (b *Busy) Total() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.total
	if b.active > 0 {
		t += time.Since(b.since)
	}
	return t
}

// busyTransport counts a request until its headers arrive; a watch's events are counted by WaitFor.
type busyTransport struct {
	busy *Busy
	next http.RoundTripper
}

func (t busyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	defer t.busy.Enter()()
	return t.next.RoundTrip(r)
}

// WrappedRoundTripper lets client-go find the transport below, to close its idle connections.
func (t busyTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

// busyConn counts a connection to a pod from dialling to closing.
type busyConn struct {
	net.Conn
	leave func()
}

func (c busyConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
