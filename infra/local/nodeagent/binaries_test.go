package nodeagent

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestProgramsAreSearchedOnceForAll(t *testing.T) {
	searches := 0
	may := make(chan struct{})
	b := &binaries[string]{find: func(_ context.Context, version string) (string, error) {
		searches++
		<-may
		return "/opt/" + version, nil
	}}
	// Who gives up does not end the search for the others.
	left, leave := context.WithCancelCause(t.Context())
	leave(errShutdown)
	if _, err := b.of(left, "15"); !errors.Is(err, errShutdown) {
		t.Errorf("error %v, want that the caller left", err)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if got, err := b.of(t.Context(), "15"); err != nil || got != "/opt/15" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	close(may)
	all.Wait()
	if searches != 1 {
		t.Errorf("%d searches, want 1", searches)
	}
}

func TestASearchThatFailedIsMadeAgain(t *testing.T) {
	lost := errors.New("no network")
	b := &binaries[string]{find: func(context.Context, string) (string, error) { return "", lost }}
	if _, err := b.of(t.Context(), ""); !errors.Is(err, lost) {
		t.Errorf("error %v, want %v", err, lost)
	}
	b.find = func(context.Context, string) (string, error) { return "/opt", nil }
	if got, err := b.of(t.Context(), ""); err != nil || got != "/opt" {
		t.Errorf("the second search: %q, %v", got, err)
	}
}
