// Package backup chooses and verifies the Velero backup that a run restores from, and rehearses the restore (graph states
// ChooseRestorePoint, ChooseRestorePointOnly, RehearseRestore, RehearseOnly). It changes nothing.
package backup

import (
	"context"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// Handler serves the operations choose (section backup) and rehearse (section rehearsal).
type Handler struct{ Env *step.Env }

// Handle runs one operation and returns a run.Backup or a run.Rehearsal.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (any, error) {
	s, err := h.Env.Open(ctx, state, r)
	if err != nil {
		return nil, err
	}
	switch op {
	case "choose":
		return choose(ctx, s)
	case "rehearse":
		return rehearse(ctx, s)
	default:
		return nil, fault.Newf(fault.Internal, "backup", "operation %q: expected choose or rehearse", op)
	}
}

func applies(s *step.Session) bool {
	return s.Plan.Spec.Inventory != nil && s.Plan.Spec.Inventory.Velero != nil
}

func choose(_ context.Context, s *step.Session) (run.Backup, error) {
	if !applies(s) {
		return run.Backup{Phase: run.NotApplicable, Message: "the plan's inventory is no Velero backup"}, nil
	}
	return run.Backup{}, fault.Newf(fault.NotQualified, "choose the restore point", "not built yet")
}

func rehearse(_ context.Context, s *step.Session) (run.Rehearsal, error) {
	if !applies(s) {
		return run.Rehearsal{Phase: run.NotApplicable, Message: "the plan's inventory is no Velero backup"}, nil
	}
	return run.Rehearsal{}, fault.Newf(fault.NotQualified, "rehearse the restore", "not built yet")
}
