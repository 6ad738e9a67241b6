package cluster

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"fallbackchain.io/fallback/shared/fault"
)

// Slice is how long one Await call waits before it returns Running and the graph comes back to it. It is less than the
// functions' timeout (60 s), which is less than the task's (75 s).
const Slice = 45 * time.Second

// Source is one resource to watch: a namespace ("" for all or cluster-scoped) and a selector.
type Source struct {
	GVR       schema.GroupVersionResource
	Namespace string
	Options   metav1.ListOptions
}

// WaitFor evaluates done at once and then after every change of any source, until it says true, errs, or ctx ends; the
// latter returns ok=false and no error, for a slice that is over is not a failure. done reads what it needs itself: a watch event
// only says that something changed. Errors of done of class Unavailable are not final: the watch is made again and done
// is asked again, because an API server that restarts is part of what is waited for. again is how long at most passes
// between two evaluations without an event (for conditions that time alone changes); 0 means that only events count.
func (c *Client) WaitFor(ctx context.Context, again time.Duration, sources []Source, done func(context.Context) (bool, error)) (bool, error) {
	defer c.Busy.Enter()()
	for backoff := 50 * time.Millisecond; ; backoff = min(2*backoff, 2*time.Second) {
		started := time.Now()
		ok, err := c.waitOnce(ctx, again, sources, done)
		switch {
		case ctx.Err() != nil && !ok:
			return false, nil
		case err == nil && ok:
			return true, nil
		case err != nil && !retryable(err):
			return false, Fault("watch", err)
		}
		if time.Since(started) > 5*time.Second {
			backoff = 50 * time.Millisecond
		}
		timer := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, nil
		case <-timer.C:
		}
	}
}

// errWatchEnded: the server closed the watch, as it does after some minutes.
var errWatchEnded = errors.New("watch ended")

func retryable(err error) bool {
	if errors.Is(err, errWatchEnded) {
		return true
	}
	return fault.ClassOf(codeOf(Fault("watch", err))) == fault.Retry
}

func (c *Client) waitOnce(ctx context.Context, again time.Duration, sources []Source, done func(context.Context) (bool, error)) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan struct{}, 1)
	ended := make(chan error, len(sources))
	for _, s := range sources {
		// The watch begins before done reads, so that no change falls between the two. Without a resourceVersion the
		// server first sends what exists, which costs one more evaluation and misses nothing.
		w, err := c.Dynamic.Resource(s.GVR).Namespace(s.Namespace).Watch(ctx, s.Options)
		if err != nil {
			return false, err
		}
		defer w.Stop()
		go func() { ended <- pump(ctx, w, changed) }()
	}
	var tick <-chan time.Time
	if again > 0 {
		t := time.NewTicker(again)
		defer t.Stop()
		tick = t.C
	}
	for {
		ok, err := done(ctx)
		if ok || err != nil {
			return ok, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case err := <-ended:
			return false, err
		case <-changed:
		case <-tick:
		}
	}
}

func pump(ctx context.Context, w watch.Interface, changed chan<- struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-w.ResultChan():
			if !open {
				return errWatchEnded
			}
			if e.Type == watch.Error {
				return errors.Join(errWatchEnded, apierrors.FromObject(e.Object))
			}
			select {
			case changed <- struct{}{}:
			default: // an evaluation is due already
			}
		}
	}
}
