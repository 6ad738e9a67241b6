package runner

import (
	"context"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/s3store"
)

// OpenBackups opens the plan's place of Velero backups, with the credentials of the plan's file or the process's own.
func OpenBackups(ctx context.Context, p *plan.Plan) (backup.Store, error) {
	v := p.Spec.Inventory.Velero
	c, err := s3store.ClientFor(ctx, v)
	if err != nil {
		return nil, err
	}
	return s3store.NewBackups(c, v.Location)
}

// Connect reaches the plan's cluster through its kubeconfig.
func Connect(ctx context.Context, p *plan.Plan) (*cluster.Client, error) {
	return (&connector{}).as("")(ctx, p)
}
