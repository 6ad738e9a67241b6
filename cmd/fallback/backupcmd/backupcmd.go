// Package backupcmd is the command "fallback backup": verify, list, create, seal.
package backupcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	backupstep "fallbackchain.io/fallback/functions/backup"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// Edges are what the commands reach: the plan's place of backups, its key and its cluster.
type Edges struct {
	Backups func(ctx context.Context, p *plan.Plan) (backup.Store, error)
	// Key is nil when the plan names none. One that can sign is a backup.Signer.
	Key     func(ctx context.Context, p *plan.Plan) (backup.Verifier, error)
	Connect func(ctx context.Context, p *plan.Plan) (*cluster.Client, error)
	Now     func() time.Time
}

// New returns the command.
func New(e Edges) *cobra.Command {
	c := &cobra.Command{Use: "backup", Short: "Verifies, lists, takes and seals the Velero backups of a plan",
		Long: "Works on the plan's spec.inventory.velero. Exit codes: 0 it verifies (or was done), 1 it does not, 2 it could not be found out."}
	c.AddCommand(verifyCommand(e), listCommand(e), createCommand(e), sealCommand(e))
	return c
}

// notVerified ends a command whose question was answered with no.
type notVerified struct{ text string }

func (e notVerified) Error() string { return e.text }

// ExitCode is 1: it was found out, and it is not so.
func (notVerified) ExitCode() int { return 1 }

// common are the flags that every subcommand has.
type common struct {
	edges         Edges
	file, output  string
	out, progress io.Writer
}

func (f *common) bind(c *cobra.Command, e Edges) {
	f.edges = e
	c.Args = cobra.NoArgs
	c.Flags().StringVarP(&f.file, "file", "f", "", "the plan")
	c.Flags().StringVarP(&f.output, "output", "o", "text", "text or json")
	cobra.CheckErr(c.MarkFlagRequired("file"))
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		f.out, f.progress = c.OutOrStdout(), c.ErrOrStderr()
		if f.output != "text" && f.output != "json" {
			return fmt.Errorf("--output %q: expected text or json", f.output)
		}
		return nil
	}
}

// plan reads the plan, which must have Velero backups.
func (f *common) plan() (*plan.Plan, *plan.Velero, error) {
	p, err := plan.Load(f.file)
	if err != nil {
		return nil, nil, err
	}
	if p.Spec.Inventory == nil || p.Spec.Inventory.Velero == nil {
		return nil, nil, fmt.Errorf("plan %s has no spec.inventory.velero: expected the place of its Velero backups", f.file)
	}
	return p, p.Spec.Inventory.Velero, nil
}

// expectation is what a run would expect of a backup. A cluster that cannot be reached is a finding.
func (f *common) expectation(ctx context.Context, p *plan.Plan) (backup.Expectation, []run.Finding, error) {
	e := backupstep.Expected(p, f.edges.Now())
	var notes []run.Finding
	c, err := f.edges.Connect(ctx, p)
	if err == nil {
		e.ClusterUID, e.KubernetesVersion, err = backupstep.Identity(ctx, c)
	}
	if err != nil {
		notes = append(notes, backupstep.IdentityUnknown(err))
	}
	if e.Key, err = f.edges.Key(ctx, p); err != nil {
		return e, notes, fmt.Errorf("spec.inventory.velero.integrity.key: %w", err)
	}
	return e, notes, nil
}

// sealing opens the plan's place for writing.
func (f *common) sealing(ctx context.Context, p *plan.Plan) (backup.Sealing, error) {
	s, err := f.edges.Backups(ctx, p)
	if err != nil {
		return nil, err
	}
	w, ok := s.(backup.Sealing)
	if !ok {
		return nil, errors.New("this place of backups cannot be written to")
	}
	return w, nil
}
