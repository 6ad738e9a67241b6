// Package backupkey opens the key that a plan's backup manifests are signed with: in AWS KMS, or in a PEM file where the process has
// files. It stands apart from package awsedge so that only what needs it links the client of KMS.
package backupkey

import (
	"context"
	"strings"

	awsarn "github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/kmskey"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awslog"
	"fallbackchain.io/fallback/shared/plan"
)

// Open returns the key of spec.inventory.velero.integrity, nil when the plan names none. A private key is a backup.Signer, and so is one in
// KMS: whether this process may sign with it, KMS says. Nothing is sent.
func Open(ctx context.Context, p *plan.Plan) (backup.Verifier, error) {
	if p.Spec.Inventory == nil || p.Spec.Inventory.Velero == nil || p.Spec.Inventory.Velero.Integrity.Key == "" {
		return nil, nil
	}
	name := p.Spec.Inventory.Velero.Integrity.Key
	if !strings.HasPrefix(name, "arn:") {
		return backup.OpenKey(name)
	}
	a, err := awsarn.Parse(name)
	if err != nil {
		return nil, fault.New(fault.PlanInvalid, "spec.inventory.velero.integrity.key "+name, err)
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(a.Region), awslog.Load)
	if err != nil {
		return nil, err
	}
	return kmskey.New(kms.NewFromConfig(cfg), name), nil
}
