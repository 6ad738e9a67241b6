// Package restore brings the inventory into a drill's namespace: claims from snapshots first, then the objects, neutralised (graph
// states RestoreIntoQuarantine and AwaitRestore).
package restore

import (
	"context"
	"fmt"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
)

// Handler serves the operations start and await.
type Handler struct{ Env *step.Env }

// Handle runs one operation.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Restore, error) {
	if r.Mode != run.Drill {
		return run.Restore{}, fault.Newf(fault.InputInvalid, "restore", "mode is %q: only a drill restores into a namespace of its own", r.Mode)
	}
	s, err := h.Env.Open(ctx, state, r)
	if err != nil {
		return run.Restore{}, err
	}
	switch op {
	case "start":
		return start(ctx, s)
	case "await":
		return await(ctx, s)
	default:
		return run.Restore{}, fault.Newf(fault.Internal, "restore", "operation %q: expected start or await", op)
	}
}

// Bounds of the section's lists: the journal has every claim and object.
const (
	claimItems = 8
	listItems  = 20
	listRunes  = 160
)

// isolated refuses to restore into a namespace whose quarantine was not verified at the plan's level.
func isolated(s *step.Session) error {
	q, level := s.Run.Quarantine, string(s.Plan.Spec.Quarantine.Level)
	if q == nil || q.Phase != run.Verified || q.Namespace != s.Target() || q.Level != level {
		return fault.Newf(fault.IsolationBroken, "restore into "+s.Target(), "its quarantine is not verified at level %s", level)
	}
	return nil
}

// start verifies the inventory and makes everything; it waits for nothing.
func start(ctx context.Context, s *step.Session) (run.Restore, error) {
	out := run.Restore{Namespace: s.Target(), Waiting: run.Waiting{Deadline: s.Deadline(s.Plan.Spec.Drill.RestoreBudget)}}
	if err := isolated(s); err != nil {
		return out, err
	}
	b, verified, err := s.VerifiedInventory(ctx)
	if err != nil {
		return out, err
	}
	if b != nil {
		defer b.Close()
	}
	if b == nil || verified.Status != signal.True {
		return out, fault.Newf(fault.InventoryBroken, "restore into "+out.Namespace, "the inventory is not verified: %s: %s", verified.Reason, verified.Message)
	}
	objects, findings := b.Objects(ctx)
	if len(findings) > 0 {
		// They verified a moment ago: somebody is changing the bundle.
		return out, fault.Newf(fault.InventoryBroken, "restore into "+out.Namespace, "%s", findings[0])
	}
	from := s.Plan.Spec.Workload.Namespace
	st, err := workloadOf(objects, from, s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return out, err
	}
	ch := s.Changer()
	claims, leftOut, err := restoreClaims(ctx, s, ch, b, objects, st)
	if err != nil {
		return out, err
	}
	out.Claims = claims[:min(len(claims), claimItems)]
	for _, o := range objects {
		if o.GetKind() == "PersistentVolumeClaim" && o.GetNamespace() == from {
			continue // restoreClaims said what became of it
		}
		neutral, why := Neutralise(o, from, out.Namespace)
		if why != "" {
			if o.GetKind() == "StatefulSet" && o.GetName() == s.Plan.Spec.Workload.StatefulSet && o.GetNamespace() == from {
				return out, fault.Newf(fault.NotQualified, "restore StatefulSet "+o.GetName(), "%s", why)
			}
			leftOut = append(leftOut, fmt.Sprintf("%s: %s", title(o), why))
			continue
		}
		if _, err := ch.Create(ctx, neutral, "restore from the inventory"); err != nil {
			return out, err
		}
		out.Objects++
	}
	out.Phase = run.Started
	out.LeftOut = run.Few(leftOut, listItems, listRunes)
	out.Message = fmt.Sprintf("%d claims and %d objects of %s restored into %s, %d objects left out", len(claims), out.Objects, from, out.Namespace, len(leftOut))
	return out, nil
}
