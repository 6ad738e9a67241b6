// Package assess looks at the cluster and the workload and says what it saw, as signals. It changes nothing: it sends get, list
// and watch only, and infra/kubernetes/assess-rbac.yaml is all it needs.
//
// A signal is Unknown when it could not be read, for whatever reason, and no tier is chosen by an Unknown signal. While the
// API server does not answer, or says that it is not ready, the assessment waits for it until the plan's apiServerWait is
// over; then what still cannot be read makes the section Unreadable.
package assess

import (
	"context"
	"errors"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/etcdsnapshot"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
)

// Handler is the assess step.
type Handler struct {
	Env *step.Env
	// Etcd is the source of EtcdSnapshotVerified; etcdsnapshot.Managed when nil.
	Etcd etcdsnapshot.Verifier
}

// retryEvery is how long an API server that answers but is not ready is left alone. One that does not answer is asked again
// with a backoff (cluster.WaitFor).
const retryEvery = time.Second

// lastLook bounds the last attempt after the deadline; with cluster.Slice it is less than the function's timeout (60 s).
const lastLook = 10 * time.Second

// Handle runs the operation "assess". It returns phase Running while the API server is waited for, and is then called again with the
// section it returned.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Assess, error) {
	if op != "assess" {
		return run.Assess{}, fault.Newf(fault.Internal, "assess", "operation %q is unknown, expected assess", op)
	}
	s, err := h.Env.Open(ctx, state, r)
	if err != nil {
		return run.Assess{}, err
	}
	sec := run.Assess{}
	if r.Assess != nil && r.Assess.Phase == run.Running {
		sec.Waiting = r.Assess.Waiting
	} else {
		sec.Deadline = s.Deadline(s.Plan.Spec.APIServerWait)
	}
	return h.assess(ctx, s, sec)
}

func (h *Handler) assess(ctx context.Context, s *step.Session, sec run.Assess) (run.Assess, error) {
	started := s.Now()
	sec.Rounds++
	var readings *readings
	waitedUntil := started
	// lastWhy is why the API server could not be read the last time.
	lastWhy := "it was not asked within the time that was left"
	attempt := func(ctx context.Context, evenIfNotReady bool) (bool, error) {
		ready, err := s.Cluster.Readyz(ctx)
		if err != nil {
			lastWhy, waitedUntil = err.Error(), s.Now()
			return false, cluster.Fault("ask the API server whether it is ready", err)
		}
		if !ready.Ready && !evenIfNotReady {
			lastWhy, waitedUntil = "it says that it is not ready", s.Now()
			return false, nil
		}
		got, err := h.read(ctx, s, ready)
		if err != nil {
			lastWhy, waitedUntil = err.Error(), s.Now()
			return false, err
		}
		readings = got
		return true, nil
	}
	slice, cancel := s.Slice(ctx, sec.Deadline)
	defer cancel()
	_, err := s.Cluster.WaitFor(slice, retryEvery, nil, func(ctx context.Context) (bool, error) { return attempt(ctx, false) })
	if err != nil {
		return sec, final(err)
	}
	if readings == nil && s.Over(sec.Deadline) && ctx.Err() == nil {
		// One last look, also at a server that calls itself not ready: its readings are better than none.
		last, cancel := context.WithTimeout(ctx, lastLook)
		defer cancel()
		if _, err := attempt(last, true); err != nil && fault.From(err).Class() != fault.Retry {
			return sec, final(err)
		}
	}
	sec.At = s.Now().UTC()
	sec.WaitedMS += waitedUntil.Sub(started).Milliseconds()
	switch {
	case readings != nil:
		sec.Phase, sec.Signals, sec.KubernetesVersion = run.Assessed, fit(readings.signals(s)), readings.version
	case s.Over(sec.Deadline):
		sec.Phase = run.Unreadable
		sec.Signals = fit(signal.AllUnknown("APIServerUnreadable", "the API server could not be read: "+lastWhy))
	default:
		sec.Phase = run.Running
		sec.Signals = fit(signal.AllUnknown("Waiting", "waiting for the API server: "+lastWhy))
	}
	return sec, nil
}

// final keeps a fault's class, but never lets a missing answer look like a defect.
func final(err error) error {
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Unavailable, "assess", err)
	}
	return err
}

// Bounds of a signal in the section, before they are cut further.
const (
	messageRunes  = 360
	evidenceItems = 5
	evidenceRunes = 72
	// rest is what the section's other fields may take, in bytes.
	rest = 400
)

// fit bounds messages and evidence, so that nine of them leave room for the rest of the section.
func fit(set signal.Set) signal.Set {
	for cut := 1; ; cut *= 2 {
		out := signal.Set{}
		for n, s := range set {
			s.Message = run.Short(s.Message, messageRunes/cut)
			s.Evidence = run.Few(s.Evidence, evidenceItems, evidenceRunes)
			out[n] = s
		}
		if cut >= 32 || run.Fits(run.Assess{Signals: out, KubernetesVersion: strings.Repeat("x", rest)}) {
			return out
		}
	}
}
