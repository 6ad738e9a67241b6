// Package lease takes and releases the workload's lease for a run (graph states TakeLease and ReleaseLease).
package lease

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// Handler serves the operations acquire and release.
type Handler struct {
	Env *step.Env
	// Quiesce is how long a preempted holder is given to become quiet; the longest function timeout when 0.
	Quiesce time.Duration
	// HolderDead tells that the holder's functions cannot be running any more (a local run whose process has ended): then
	// nothing is waited for. nil where nothing can prove it, as in AWS.
	HolderDead func(ctx context.Context, holder string) bool
}

// Handle runs one operation.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Lease, error) {
	s, err := h.Env.Open(ctx, state, r)
	if err != nil {
		return run.Lease{}, err
	}
	switch op {
	case "acquire":
		return h.acquire(ctx, s)
	case "release":
		return h.release(ctx, s)
	default:
		return run.Lease{}, fault.Newf(fault.Internal, "lease", "operation %q: expected acquire or release", op)
	}
}

func name(p *plan.Plan) string {
	return lease.Name(p.Spec.Workload.Namespace, p.Spec.Workload.StatefulSet)
}

// acquire takes the lease. A drill's lease is taken over by a recover after the drill has become quiet; the phase is Running
// meanwhile. The watch on the lease ends the wait as soon as the drill releases it by itself.
func (h *Handler) acquire(ctx context.Context, s *step.Session) (run.Lease, error) {
	out := run.Lease{Name: name(s.Plan)}
	if s.Run.Lease != nil {
		out.Waiting = s.Run.Lease.Waiting
	}
	out.Rounds++
	if out.Deadline == nil {
		l, _ := limits.Get(limits.LeaseWait)
		out.Deadline = s.Deadline(plan.Duration(l.Cap))
	}
	if s.Run.DryRun {
		return h.look(ctx, s, out)
	}
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	for {
		a, err := lease.TryAcquire(ctx, s.Cluster, h.claim(ctx, s))
		if err != nil {
			return out, err
		}
		switch a.Verdict {
		case lease.Held:
			at := a.State.AcquiredAt
			out.Phase, out.Holder, out.AcquiredAt, out.Message = run.Held, "", &at, ""
			return out, nil
		case lease.Busy:
			return busy(out, a.State), nil
		}
		out.Holder = a.State.Holder
		out.Message = fmt.Sprintf("drill %s was told to stop; the lease is taken at %s", a.State.Holder, a.Until.UTC().Format(time.RFC3339))
		if s.Over(out.Deadline) {
			return busy(out, a.State), nil
		}
		if slice.Err() != nil {
			out.Phase = run.Running
			return out, nil
		}
		if err := h.wait(slice, s, &out, a); err != nil {
			return out, err
		}
	}
}

// wait returns when the lease changed hands, when the holder is quiet, or when the slice is over.
func (h *Handler) wait(ctx context.Context, s *step.Session, out *run.Lease, a lease.Attempt) error {
	ctx, cancel := context.WithTimeout(ctx, max(a.Until.Sub(s.Now()), 0))
	defer cancel()
	began := time.Now()
	one := cluster.Source{GVR: cluster.Leases, Namespace: lease.Namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + out.Name}}
	_, err := s.Cluster.WaitFor(ctx, 0, []cluster.Source{one}, func(ctx context.Context) (bool, error) {
		now, err := lease.Holder(ctx, s.Cluster, out.Name)
		return now.Holder != a.State.Holder || now.PreemptedBy != s.Run.ID, err
	})
	out.WaitedMS += time.Since(began).Milliseconds()
	return err
}

func (h *Handler) claim(ctx context.Context, s *step.Session) lease.Claim {
	c := lease.Claim{Name: name(s.Plan), Run: s.Run.ID, Mode: s.Run.Mode, Plan: s.Plan.Metadata.Name, Now: s.Now(), Quiesce: h.Quiesce}
	if c.Quiesce == 0 {
		c.Quiesce = limits.FunctionTimeout
	}
	if h.HolderDead == nil || s.Run.Mode != run.Recover {
		return c
	}
	if now, err := lease.Holder(ctx, s.Cluster, c.Name); err == nil && now.Holder != "" && now.Holder != c.Run && h.HolderDead(ctx, now.Holder) {
		c.Quiesce = 0
	}
	return c
}

func busy(out run.Lease, s lease.State) run.Lease {
	out.Phase, out.Holder = run.Busy, s.Holder
	out.Message = fmt.Sprintf("run %s (%s) holds the lease since %s", s.Holder, s.Mode, s.AcquiredAt.Format(time.RFC3339))
	switch {
	case s.PreemptedBy != "":
		out.Message += fmt.Sprintf("; run %s is taking it over", s.PreemptedBy)
	default:
		out.Message += fmt.Sprintf("; if it has ended, finish it with `fallback janitor %s`, or clear it with `fallback resolve %s`", s.Holder, s.Holder)
	}
	return out
}

// look is acquire of a dry run: it only reads.
func (h *Handler) look(ctx context.Context, s *step.Session, out run.Lease) (run.Lease, error) {
	now, err := lease.Holder(ctx, s.Cluster, out.Name)
	if err != nil {
		return out, err
	}
	if now.Holder != "" && now.Holder != s.Run.ID && (s.Run.Mode != run.Recover || now.Mode != run.Drill) {
		return busy(out, now), nil
	}
	at := s.Now().UTC()
	out.Phase, out.AcquiredAt, out.Message = run.Held, &at, "dry run: the lease was not taken"
	return out, nil
}

// release clears the holder. A lease that another run holds by now is left alone: this run has nothing to release.
func (h *Handler) release(ctx context.Context, s *step.Session) (run.Lease, error) {
	var out run.Lease
	if s.Run.Lease != nil {
		out = *s.Run.Lease
	}
	out.Name, out.Holder, out.Message = name(s.Plan), "", ""
	if s.Run.DryRun {
		out.Phase, out.Message = run.Released, "dry run: the lease was not taken"
		return out, nil
	}
	now, err := lease.Clear(ctx, s.Cluster, out.Name, s.Run.ID)
	if err != nil {
		return out, err
	}
	if now.Holder == s.Run.ID {
		return out, fault.Newf(fault.Internal, "release Lease "+out.Name, "the run still holds it after it was cleared")
	}
	out.Phase = run.Released
	if now.Holder != "" {
		out.Message = fmt.Sprintf("run %s holds the lease now", now.Holder)
	}
	return out, nil
}
