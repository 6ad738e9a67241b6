package lease

import (
	"errors"
	"net/url"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

// outage makes the API server refuse connections from a verb on; the returned function brings it back. lost makes the request first, and
// loses its answer.
func outage(w *steptest.World, verb string, lost bool) (back func()) {
	gone := true
	w.Fake.PrependReactor(verb, "leases", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if !gone {
			return false, nil, nil
		}
		if create, ok := a.(clienttesting.CreateAction); lost && ok {
			if err := w.Fake.Tracker().Create(a.GetResource(), create.GetObject(), a.GetNamespace()); err != nil {
				w.Error(err)
			}
			w.Fake.PrependReactor("get", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
				if !gone {
					return false, nil, nil
				}
				return true, nil, &url.Error{Op: "Get", URL: "https://api", Err: syscall.ECONNREFUSED}
			})
			return true, nil, errors.New("unexpected EOF")
		}
		return true, nil, &url.Error{Op: "Get", URL: "https://api", Err: syscall.ECONNREFUSED}
	})
	return func() { gone = false }
}

// An API server that does not answer is waited for; after apiServerWait the run surely holds nothing and asks for no release.
func TestAcquireWaitsForTheAPIServer(t *testing.T) {
	w := world(t, run.Recover)
	back := outage(w, "get", false)
	l := call(w, &Handler{}, "acquire", soon)
	if l.Phase != run.Running || l.AwaySince == nil || l.Unsure {
		t.Fatalf("at first: %+v", l)
	}
	w.Pass(w.Plan.Spec.APIServerWait.D() - time.Second)
	if l = call(w, &Handler{}, "acquire", soon); l.Phase != run.Running || !l.AwaySince.Equal(steptest.Start) {
		t.Fatalf("within the wait: %+v", l)
	}
	w.Pass(time.Second)
	if l = call(w, &Handler{}, "acquire", soon); l.Phase != run.Busy || l.Holder != "" || l.Message == "" {
		t.Fatalf("after it: %+v", l)
	}
	said := l.Message
	if l = call(w, &Handler{}, "release", soon); l.Phase != run.Released || l.Message != said {
		t.Errorf("release: %+v", l)
	}
	back()
	if got := holder(w); got != "" {
		t.Errorf("the lease is held by %q", got)
	}
}

func TestAcquireGoesOnWhenTheAPIServerIsBack(t *testing.T) {
	w := world(t, run.Recover)
	back := outage(w, "get", false)
	call(w, &Handler{}, "acquire", soon)
	back()
	if l := call(w, &Handler{}, "acquire", time.Minute); l.Phase != run.Held || l.AwaySince != nil {
		t.Errorf("%+v", l)
	}
}

// A write whose answer was lost may have taken the lease: that is no clean Busy, and the release is tried.
func TestALostAnswerIsNotTakenForNothing(t *testing.T) {
	w := world(t, run.Recover)
	back := outage(w, "create", true)
	if l := call(w, &Handler{}, "acquire", soon); l.Phase != run.Running || !l.Unsure {
		t.Fatalf("%+v", l)
	}
	w.Pass(w.Plan.Spec.APIServerWait.D())
	h := &Handler{Env: w.Env}
	if _, err := h.Handle(t.Context(), "acquire", "TakeLease", w.Run); fault.From(err) == nil || fault.From(err).Code != fault.Unavailable {
		t.Errorf("after the wait: %v, want Unavailable", err)
	}
	if _, err := h.Handle(t.Context(), "release", "ReleaseLease", w.Run); fault.From(err) == nil || fault.From(err).Code != fault.Unavailable {
		t.Errorf("release: %v, want Unavailable", err)
	}
	back()
	if got := holder(w); got != w.Run.ID {
		t.Errorf("the lease is held by %q, want the run whose answer was lost", got)
	}
	if l := call(w, &Handler{}, "acquire", time.Minute); l.Phase != run.Held || l.Unsure {
		t.Errorf("when the API server is back: %+v", l)
	}
}
