package step

import (
	"context"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// velero is the plan's Velero inventory; nil when it has another or none.
func (s *Session) velero() *plan.Velero {
	if s.Plan.Spec.Inventory == nil {
		return nil
	}
	return s.Plan.Spec.Inventory.Velero
}

// RestoredByVelero tells whether Velero restores this run's inventory: in a drill of a plan with Velero backups.
func (s *Session) RestoredByVelero() bool { return s.Run.Mode == run.Drill && s.velero() != nil }

// BackupStore opens the plan's place of Velero backups.
func (s *Session) BackupStore(ctx context.Context) (backup.Store, error) {
	if s.env.Backups == nil {
		return nil, fault.Newf(fault.Unavailable, "open the backups of plan "+s.Plan.Metadata.Name, "this process cannot open Velero backups")
	}
	return s.env.Backups(ctx, s.Plan)
}
