package awsedge

import (
	"context"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/s3store"
)

// backups opens a plan's place of Velero backups with the function's own credentials.
func backups(ctx context.Context, p *plan.Plan) (backup.Store, error) {
	v := p.Spec.Inventory.Velero
	if v.CredentialsFile != "" {
		return nil, fault.Newf(fault.PlanInvalid, "open the backups of plan "+p.Metadata.Name,
			"spec.inventory.velero.credentialsFile is %s: expected none, a function has no files and uses its role", v.CredentialsFile)
	}
	c, err := s3store.ClientFor(ctx, v)
	if err != nil {
		return nil, fault.New(fault.PlanInvalid, "open the backups of plan "+p.Metadata.Name, err)
	}
	return s3store.NewBackups(c, v.Location)
}
