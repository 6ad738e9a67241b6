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
		return h.choose(ctx, s)
	case "rehearse":
		return h.rehearse(ctx, s)
	default:
		return nil, fault.Newf(fault.Internal, "backup", "operation %q: expected choose or rehearse", op)
	}
}

// applies tells whether the plan restores from Velero backups.
func applies(s *step.Session) bool {
	return s.Plan.Spec.Inventory != nil && s.Plan.Spec.Inventory.Velero != nil
}
