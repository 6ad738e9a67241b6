package nodeagent

import (
	"context"
	"sync"
)

// binaries finds the programs of one database, once for all pods.
type binaries[P any] struct {
	// find looks on the machine and brings what is not there; "" takes any version.
	find func(ctx context.Context, version string) (P, error)

	mu    sync.Mutex
	found map[string]*search[P]
}

// search is one for a version; others wait for it.
type search[P any] struct {
	over chan struct{}
	got  P
	err  error
}

// of returns the programs of a version. A search that failed is made again by the next call.
func (b *binaries[P]) of(ctx context.Context, version string) (P, error) {
	b.mu.Lock()
	s := b.found[version]
	if s == nil {
		s = &search[P]{over: make(chan struct{})}
		if b.found == nil {
			b.found = map[string]*search[P]{}
		}
		b.found[version] = s
		// A download goes on when its caller has left, for the next one.
		go b.search(context.WithoutCancel(ctx), version, s)
	}
	b.mu.Unlock()
	select {
	case <-s.over:
		return s.got, s.err
	case <-ctx.Done():
		var none P
		return none, context.Cause(ctx)
	}
}

func (b *binaries[P]) search(ctx context.Context, version string, s *search[P]) {
	defer close(s.over)
	if s.got, s.err = b.find(ctx, version); s.err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.found, version)
	}
}
