// Package localcmd is "fallback local": a whole Kubernetes on this machine to try things on.
package localcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/toolchain"
)

// stopTimeout bounds a clean stop; what still runs then is killed.
const stopTimeout = time.Minute

// New makes the command with its subcommands.
func New() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Run a real Kubernetes control plane with real volumes on this machine",
		Long: `Run etcd, the Kubernetes control plane, a CSI driver with its sidecars, simulated nodes, an S3
server and Velero as processes of this machine, on loopback, with their state in one directory.
The first start compiles all of them from source: about a quarter of an hour on two cores. Later
starts take seconds. Stacks with different names run side by side.`,
		Args: cobra.NoArgs,
	}
	cmd.PersistentFlags().StringVar(&o.name, "name", stack.DefaultName, "name of the stack")
	cmd.PersistentFlags().StringVar(&o.dir, "dir", "", "state directory (default: one of the stack's name below XDG_STATE_HOME, ~/.local/state or, for root, /var/lib)")
	cmd.AddCommand(o.up(), o.build(), o.supervise(), o.down(), o.status(), o.kubeconfig())
	return cmd
}

// options are the flags of all subcommands.
type options struct {
	name, dir string
	source    string
	nodes     int
	tests     bool
}

// stateDir is the state directory the flags name.
func (o *options) stateDir() (string, error) {
	if o.dir != "" {
		return filepath.Abs(o.dir)
	}
	return stack.DefaultDir(o.name)
}

func (o *options) build() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build what the stack runs, without starting it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show := newPrinter(cmd.ErrOrStderr())
			defer show.close()
			began := time.Now()
			c := toolchain.Config{Source: o.source, Progress: show.event}
			groups := toolchain.Stack()
			if o.tests {
				groups = append(groups, toolchain.Sanity())
			}
			if _, err := toolchain.Ensure(cmd.Context(), c, groups...); err != nil {
				return err
			}
			if _, err := toolchain.Mains(cmd.Context(), c); err != nil {
				return err
			}
			show.close()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "everything is built (%s)\n", seconds(time.Since(began)))
			return err
		},
	}
	o.sourceFlag(cmd)
	cmd.Flags().BoolVar(&o.tests, "tests", false, "also build what only tests run (csi-sanity)")
	return cmd
}

func (o *options) down() *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the stack; its data stays unless --purge",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := o.stateDir()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), stopTimeout)
			defer cancel()
			out := cmd.OutOrStdout()
			began := time.Now()
			ran, err := stack.Down(ctx, dir)
			switch {
			case errors.Is(err, stack.ErrNoStack):
				fmt.Fprintf(out, "no local stack in %s\n", dir)
				return nil
			case err != nil:
				return err
			case ran:
				fmt.Fprintf(out, "stopped after %s\n", seconds(time.Since(began)))
			default:
				fmt.Fprintln(out, "it was not running")
			}
			if !purge {
				return nil
			}
			if err := stack.Purge(dir); err != nil {
				return err
			}
			fmt.Fprintf(out, "deleted %s\n", dir)
			return nil
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "also delete the state directory with all volumes")
	return cmd
}

func (o *options) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the stack's components",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output %q: expected table or json", output)
			}
			dir, err := o.stateDir()
			if err != nil {
				return err
			}
			st, err := stack.StatusOf(cmd.Context(), dir)
			none := errors.Is(err, stack.ErrNoStack)
			if err != nil && !none {
				return err
			}
			if none {
				st = stack.Status{Name: o.name, Dir: dir}
			}
			switch out := cmd.OutOrStdout(); {
			case output == "json":
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				return e.Encode(st)
			case none:
				_, err := fmt.Fprintf(out, "no local stack in %s\n", dir)
				return err
			default:
				return table(out, st)
			}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// table prints a status for people.
func table(out io.Writer, st stack.Status) error {
	if !st.Running {
		_, err := fmt.Fprintf(out, "stack %s is not running (its data is in %s)\n", st.Name, st.Dir)
		return err
	}
	how := "ready"
	if !st.Ready {
		how = "running with components down"
	}
	fmt.Fprintf(out, "stack %s is %s: %s, %d nodes, up for %s\n\n", st.Name, how, st.Server, st.Nodes, time.Since(st.Since).Round(time.Second))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "COMPONENT\tSTATE\tPID\tRESTARTS\tSINCE\tLAST EXIT")
	for _, c := range st.Components {
		exit, _, _ := strings.Cut(c.LastExit, "; its log ends:")
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", c.Name, c.State, c.PID, c.Restarts, c.Since.Format(time.DateTime), exit)
	}
	return w.Flush()
}

func (o *options) kubeconfig() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := o.stateDir()
			if err != nil {
				return err
			}
			st, err := stack.StatusOf(cmd.Context(), dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), st.Kubeconfig)
			return err
		},
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
