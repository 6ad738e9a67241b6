package faults

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
)

// New makes the command "break NAME" of "fallback local". It follows the flags --name and --dir of its parents, which name the
// stack.
func New() *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "break [NAME]",
		Short: "Break the sample in one way, to see it recovered; without a name: list the ways",
		Long: `Break the sample shop on the local stack and return when the cluster shows it. Then
"fallback recover" or "fallback drill" show what is made of it. "fallback local reset" undoes
every break.`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tWHAT HAPPENS\tWHAT IT SHOWS")
				for _, f := range List() {
					fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, f.What, f.Shows)
				}
				return w.Flush()
			}
			dir, err := stackDir(cmd)
			if err != nil {
				return err
			}
			o.StackDir = dir
			o.Progress = func(s string) { fmt.Fprintln(cmd.OutOrStdout(), s) }
			return Break(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.SampleDir, "sample-dir", "", "directory the sample was deployed to (default: shop in the stack's state directory)")
	f.DurationVar(&o.For, "for", DefaultOutage, "how long api-server-down lasts")
	f.DurationVar(&o.Timeout, "timeout", DefaultTimeout, "how long to wait until the fault shows")
	return cmd
}

// NewReset makes the command "reset" of "fallback local".
func NewReset() *cobra.Command {
	var sampleDir string
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Undo every break and deploy the sample anew",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := stackDir(cmd)
			if err != nil {
				return err
			}
			if sampleDir == "" {
				sampleDir = sample.DefaultDir(dir)
			}
			d, err := sample.Reset(cmd.Context(), sample.Options{Kubeconfig: stack.Layout{Dir: dir}.Kubeconfig(), StackDir: dir, Dir: sampleDir,
				Progress: func(s string) { fmt.Fprintln(cmd.OutOrStdout(), s) }})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "plan:", d.Plan)
			return err
		},
	}
	cmd.Flags().StringVar(&sampleDir, "sample-dir", "", "directory of the sample (default: shop in the stack's state directory)")
	return cmd
}

func names() []string {
	var out []string
	for _, f := range List() {
		out = append(out, f.Name)
	}
	return out
}

// stackDir is the state directory that the parents' flags name.
func stackDir(cmd *cobra.Command) (string, error) {
	value := func(flag string) string {
		if f := cmd.Flag(flag); f != nil {
			return f.Value.String()
		}
		return ""
	}
	if dir := value("dir"); dir != "" {
		return filepath.Abs(dir)
	}
	name := value("name")
	if name == "" {
		name = stack.DefaultName
	}
	return stack.DefaultDir(name)
}
