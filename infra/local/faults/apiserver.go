package faults

import (
	"context"
	"errors"
	"time"

	"fallbackchain.io/fallback/infra/local/stack"
)

// startTimeout bounds the start of the API server after the outage; on two idle cores it takes three seconds.
const startTimeout = 3 * time.Minute

// apiServerDown kills the API server, waits, and starts it again, also when ctx ends first.
func apiServerDown(ctx context.Context, b *breaker) (err error) {
	s, err := stack.Connect(b.o.StackDir)
	if err != nil {
		return err
	}
	// Killed, not stopped: a clean end would take ten seconds more, for the watches.
	if err := s.KillComponent(ctx, stack.APIServer); err != nil {
		return err
	}
	b.say("the API server is down for %s", b.o.For)
	defer func() {
		start, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
		defer cancel()
		err = errors.Join(err, s.StartComponent(start, stack.APIServer))
		if err == nil {
			b.say("the API server works again")
		}
	}()
	if _, err := b.c.Readyz(ctx); err == nil {
		return errors.New("the API server still answers, expected it to be down")
	}
	t := time.NewTimer(b.o.For)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
