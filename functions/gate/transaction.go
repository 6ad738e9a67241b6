package gate

import (
	"context"
	"errors"
	"time"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// again is how often a database that cannot be reached is tried while no pod changes.
const again = 2 * time.Second

// transaction asks the database of every chosen pod. A database that cannot be reached is tried again until the gate's deadline;
// an answer, also a wrong one, is final.
func (h *Handler) transaction(ctx context.Context, s *step.Session, out run.Gate) (run.Gate, error) {
	cred, err := h.credentials(ctx, s)
	if err != nil {
		return out, err
	}
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	began := time.Now()
	worked, final := time.Duration(0), false
	var gone *database.Unreachable
	_, err = s.Cluster.WaitFor(slice, again, []cluster.Source{{GVR: cluster.Pods, Namespace: s.Target()}}, func(ctx context.Context) (bool, error) {
		tried := time.Now()
		defer func() { worked += time.Since(tried) }()
		v, err := h.validate(ctx, s, cred)
		if errors.As(err, &gone) {
			out.Reason, out.Message = "DatabaseUnreachable", database.Cap(err.Error())
			return false, nil
		}
		if err == nil {
			v.into(&out)
			final = true
		}
		return err == nil, err
	})
	out.WaitedMS += max(time.Since(began)-worked, 0).Milliseconds()
	switch {
	case err != nil:
		return out, cluster.Fault("validate the database in namespace "+s.Target(), err)
	case final:
		return out, nil
	case s.Over(out.Deadline):
		out.Phase = run.Refused
		if out.Reason == "" {
			out.Reason, out.Message = string(fault.BudgetExceeded), "the gate's budget was over before the database could be asked"
		}
		return out, nil
	default:
		out.Phase = run.Running
		return out, nil
	}
}
