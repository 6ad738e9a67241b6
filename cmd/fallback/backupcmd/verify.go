package backupcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

func verifyCommand(e Edges) *cobra.Command {
	var f common
	var name string
	c := &cobra.Command{
		Use: "verify", Short: "Tells whether a backup is whole, is what Velero wrote, and fits the plan",
		Long: "Reads every object of the backup from S3, without a cluster where there is none, and says of each finding what it means for a\n" +
			"restore. Without --backup it is the restore point that a run would take now.",
		RunE: func(c *cobra.Command, _ []string) error { return f.verify(c.Context(), name) },
	}
	f.bind(c, e)
	c.Flags().StringVar(&name, "backup", "", "name of the backup (default the plan's restore point)")
	return c
}

// report is what verify prints as JSON.
type report struct {
	Location string `json:"location"`
	Chosen   string `json:"chosen,omitempty"`
	backup.Verified
	// Passed are later backups that did not verify.
	Passed []string `json:"passed,omitempty"`
}

func (f *common) verify(ctx context.Context, name string) error {
	p, v, err := f.plan()
	if err != nil {
		return err
	}
	store, err := f.edges.Backups(ctx, p)
	if err != nil {
		return err
	}
	want, notes, err := f.expectation(ctx, p)
	if err != nil {
		return err
	}
	point := v.RestorePoint
	if name != "" {
		point = plan.RestorePoint{Backup: name}
		want.MaxAge = p.Spec.Inventory.MaxAge.D()
	}
	choice, err := backup.Choose(ctx, store, point, v.Schedule, f.edges.Now().UTC().Format("20060102"), want)
	if err != nil {
		return err
	}
	choice.Findings = run.Pressing(append(notes, choice.Findings...))
	if err := f.print(report{Location: v.Location, Chosen: choice.How, Verified: choice.Verified, Passed: choice.Passed}); err != nil {
		return err
	}
	switch choice.Status {
	case signal.True:
		return nil
	case signal.False:
		return notVerified{fmt.Sprintf("backup %s does not verify: %s", or(choice.Name, "(none)"), choice.Reason)}
	default:
		return fmt.Errorf("backup %s could not be verified: %s: %s", or(choice.Name, "(none)"), choice.Reason, choice.Message)
	}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
