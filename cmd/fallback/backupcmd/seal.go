package backupcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/signal"
)

func sealCommand(e Edges) *cobra.Command {
	var f common
	var name string
	c := &cobra.Command{
		Use: "seal", Short: "Writes the signed manifest of a backup beside it",
		Long: "Verifies the backup, and writes the digest and S3 version of each of its objects, signed with the plan's key\n" +
			"(spec.inventory.velero.integrity.key). Later verifications compare with it. Seal a backup as soon as it has completed: what was\n" +
			"changed before is sealed as it is.",
		RunE: func(c *cobra.Command, _ []string) error { return f.seal(c.Context(), name) },
	}
	f.bind(c, e)
	c.Flags().StringVar(&name, "backup", "", "name of the backup")
	cobra.CheckErr(c.MarkFlagRequired("backup"))
	return c
}

func (f *common) seal(ctx context.Context, name string) error {
	p, v, err := f.plan()
	if err != nil {
		return err
	}
	verdict, err := f.sealed(ctx, p, name)
	if err != nil {
		return err
	}
	if err := f.print(report{Location: v.Location, Chosen: "named", Verified: verdict}); err != nil {
		return err
	}
	if verdict.Status != signal.True {
		return notVerified{fmt.Sprintf("backup %s was not sealed: it does not verify: %s", name, verdict.Reason)}
	}
	return nil
}

// sealed verifies and seals a backup.
func (f *common) sealed(ctx context.Context, p *plan.Plan, name string) (backup.Verified, error) {
	var none backup.Verified
	key, err := f.edges.Key(ctx, p)
	if err != nil {
		return none, fmt.Errorf("spec.inventory.velero.integrity.key: %w", err)
	}
	signer, ok := key.(backup.Signer)
	if !ok {
		return none, errors.New("spec.inventory.velero.integrity.key is no private key: expected the ARN of a KMS key, or a PEM file with a private key")
	}
	store, err := f.sealing(ctx, p)
	if err != nil {
		return none, err
	}
	want, _, err := f.expectation(ctx, p)
	if err != nil {
		return none, err
	}
	want.MaxAge, want.ManifestRequired = 0, false
	verdict, err := backup.Seal(ctx, store, name, want.ClusterUID, want, signer)
	if errors.Is(err, backup.ErrNotSealed) {
		return verdict, nil // its status tells
	}
	return verdict, err
}
