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
	var all bool
	c := &cobra.Command{
		Use: "seal", Short: "Writes the signed manifests of backups beside them",
		Long: "Verifies a backup, and writes the digest and S3 version of each of its objects, signed with the plan's key\n" +
			"(spec.inventory.velero.integrity.key). Later verifications compare with it. Seal a backup as soon as it has completed: what was\n" +
			"changed before is sealed as it is, and a manifest only tells that nothing was changed since.\n\n" +
			"--all takes every completed backup of the plan that has no signed manifest: what a Velero Schedule took.",
		RunE: func(c *cobra.Command, _ []string) error {
			if all {
				return f.sealAll(c.Context())
			}
			return f.seal(c.Context(), name)
		},
	}
	f.bind(c, e)
	c.Flags().StringVar(&name, "backup", "", "name of the backup")
	c.Flags().BoolVar(&all, "all", false, "every completed backup of the plan that is not sealed")
	c.MarkFlagsOneRequired("backup", "all")
	c.MarkFlagsMutuallyExclusive("backup", "all")
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
	s, err := f.sealer(ctx, p)
	if err != nil {
		return backup.Verified{}, err
	}
	return s.seal(ctx, name)
}

// sealer is what sealing takes.
type sealer struct {
	key   backup.Signer
	store backup.Sealing
	want  backup.Expectation
}

func (f *common) sealer(ctx context.Context, p *plan.Plan) (*sealer, error) {
	key, err := f.edges.Key(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("spec.inventory.velero.integrity.key: %w", err)
	}
	signer, ok := key.(backup.Signer)
	if !ok {
		return nil, errors.New("spec.inventory.velero.integrity.key is no private key: expected the ARN of a KMS key, or a PEM file with a private key")
	}
	store, err := f.sealing(ctx, p)
	if err != nil {
		return nil, err
	}
	want, _, err := f.expectation(ctx, p)
	if err != nil {
		return nil, err
	}
	want.MaxAge, want.ManifestRequired = 0, false
	return &sealer{signer, store, want}, nil
}

func (s *sealer) seal(ctx context.Context, name string) (backup.Verified, error) {
	verdict, err := backup.Seal(ctx, s.store, name, s.want.ClusterUID, s.want, s.key)
	if errors.Is(err, backup.ErrNotSealed) {
		return verdict, nil // its status tells
	}
	return verdict, err
}
