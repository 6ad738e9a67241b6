// Package lease takes and releases the workload's lease for a run (graph states TakeLease and ReleaseLease).
package lease

import (
	"context"
	"errors"
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
	return step.Ops[run.Lease]{"acquire": h.acquire, "release": h.release}.Serve(ctx, h.Env, "lease", op, state, r)
}

func name(p *plan.Plan) string {
	return lease.Name(p.Spec.Workload.Namespace, p.Spec.Workload.StatefulSet)
}

// acquire takes the lease. A drill's lease is taken over by a recover after the drill has become quiet; the phase is Running
// meanwhile. The watch on the lease ends the wait as soon as the drill releases it by itself.
func (h *Handler) acquire(ctx context.Context, s *step.Session) (run.Lease, error) {
	out := run.Lease{Name: name(s.Plan)}
	if s.Run.Lease != nil {
		had := s.Run.Lease
		out.Waiting, out.Holder, out.AwaySince, out.Unsure = had.Waiting, had.Holder, had.AwaySince, had.Unsure
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
		a, ok, err := h.reach(ctx, slice, s, &out)
		if err != nil {
			return out, err
		}
		if !ok {
			return away(s, out)
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

// reach makes an attempt. An API server that does not answer is waited for as long as an assessment waits for it; ok is false when it
// did not answer in this slice.
func (h *Handler) reach(ctx, slice context.Context, s *step.Session, out *run.Lease) (a lease.Attempt, ok bool, err error) {
	since := s.Now().UTC()
	if out.AwaySince != nil {
		since = *out.AwaySince
	}
	left := max(since.Add(s.Plan.Spec.APIServerWait.D()).Sub(s.Now()), lastLook)
	if slice.Err() != nil {
		slice, left = ctx, lastLook // what was waited for may have come with the slice's end
	}
	wait, cancel := context.WithTimeout(slice, left)
	defer cancel()
	ok, err = s.Cluster.WaitFor(wait, 0, nil, func(ctx context.Context) (bool, error) {
		var err error
		a, err = lease.TryAcquire(ctx, s.Cluster, h.claim(ctx, s))
		out.Unsure = errors.Is(err, lease.ErrUnsure) || (out.Unsure && err != nil)
		return err == nil, err
	})
	if out.AwaySince = nil; !ok && err == nil {
		out.AwaySince = &since
	}
	return a, ok, err
}

// lastLook is how long one attempt may take at least.
const lastLook = time.Second

// away is the lease's section when the API server does not answer: Running within the plan's apiServerWait, then Busy without a
// holder, for nothing was taken. Where that is not sure, or where another run was already told to stop, it is a fault.
func away(s *step.Session, out run.Lease) (run.Lease, error) {
	const op = "take the lease"
	waited := s.Now().Sub(*out.AwaySince)
	switch {
	case waited < s.Plan.Spec.APIServerWait.D():
		out.Phase, out.Message = run.Running, "waiting for the API server"
		return out, nil
	case out.Unsure:
		return out, fault.New(fault.Unavailable, op, lease.ErrUnsure)
	case out.Holder != "":
		return out, fault.Newf(fault.Unavailable, op, "the API server did not answer for %s, and run %s is told to stop", waited.Round(time.Second), out.Holder)
	}
	out.Phase, out.Message = run.Busy, fmt.Sprintf("the API server did not answer for %s; the lease was not taken", waited.Round(time.Second))
	return out, nil
}

// notTaken tells that there is surely nothing to release.
func notTaken(l *run.Lease) bool {
	return l != nil && l.Phase == run.Busy && l.Holder == "" && !l.Unsure
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
	busy := out.Phase == run.Busy
	out.Name, out.Holder = name(s.Plan), ""
	if notTaken(s.Run.Lease) {
		out.Phase = run.Released // the API server, which did not answer, is not asked
		return out, nil
	}
	if !busy { // why the lease was not had stays the message
		out.Message = ""
	}
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
	if now.Holder != "" && !busy {
		out.Message = fmt.Sprintf("run %s holds the lease now", now.Holder)
	}
	return out, nil
}
