package backupcmd

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/run"
)

func listCommand(e Edges) *cobra.Command {
	var f common
	c := &cobra.Command{
		Use: "list", Short: "Lists the backups in the plan's place, the newest first",
		Long: "Reads the bucket, not the cluster. What a backup says of itself is listed; verify tells whether it is so.",
		RunE: func(c *cobra.Command, _ []string) error { return f.list(c.Context()) },
	}
	f.bind(c, e)
	return c
}

func (f *common) list(ctx context.Context) error {
	p, v, err := f.plan()
	if err != nil {
		return err
	}
	store, err := f.edges.Backups(ctx, p)
	if err != nil {
		return err
	}
	list, broken, err := backup.List(ctx, store)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return writeJSON(f.out, struct {
			Location string           `json:"location"`
			Backups  []backup.Summary `json:"backups"`
			Findings []run.Finding    `json:"findings,omitempty"`
		}{v.Location, append([]backup.Summary{}, list...), broken})
	}
	now := f.edges.Now()
	w := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCOMPLETED\tAGE\tPHASE\tSCHEDULE\tNAMESPACES\tITEMS\tERRORS\tWARNINGS\tSIZE\tSEALED")
	for _, b := range list {
		completed, age := "-", "-"
		if b.CompletedAt != nil {
			completed, age = b.CompletedAt.UTC().Format(time.RFC3339), now.Sub(*b.CompletedAt).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", b.Name, completed, age, or(b.Phase, "-"), or(b.Schedule, "-"),
			names(b.Namespaces), b.Items, b.Errors, b.Warnings, size(b.Bytes), yes(b.Sealed))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, x := range broken {
		if _, err := fmt.Fprintf(f.out, "%s: %s\n", x.Subject, line(x.Problem)); err != nil {
			return err
		}
	}
	return nil
}

func names(namespaces []string) string {
	switch {
	case len(namespaces) == 0:
		return "*"
	case len(namespaces) > 2:
		return fmt.Sprintf("%s and %d more", namespaces[0], len(namespaces)-1)
	case len(namespaces) == 2:
		return namespaces[0] + "," + namespaces[1]
	}
	return namespaces[0]
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
