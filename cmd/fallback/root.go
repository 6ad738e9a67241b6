package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fallbackchain.io/fallback/cmd/fallback/backupcmd"
	"fallbackchain.io/fallback/cmd/fallback/graphcmd"
	"fallbackchain.io/fallback/cmd/fallback/inventorycmd"
	"fallbackchain.io/fallback/cmd/fallback/localcmd"
	"fallbackchain.io/fallback/cmd/fallback/plancmd"
	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/infra/local/faults"
	"fallbackchain.io/fallback/shared/awsedge/backupkey"
)

// options are what every command that works on runs shares.
type options struct {
	stateDir string
	output   string
	out, err io.Writer
}

func (o *options) json() bool { return o.output == "json" }

// store is the directory of runs.
func (o *options) store() (runstore.Store, error) {
	if o.stateDir != "" {
		return runstore.Store{Dir: o.stateDir}, nil
	}
	dir, err := runstore.DefaultDir(os.Getenv)
	return runstore.Store{Dir: dir}, err
}

// live tells whether people read along on a terminal.
func (o *options) live() bool {
	f, ok := o.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func newRoot(out, errw io.Writer) *cobra.Command {
	o := &options{out: out, err: errw}
	root := &cobra.Command{
		Use:   "fallback",
		Short: "Recovers stateful Kubernetes workloads, and proves that it can",
		Long: "Fallback Chain looks at the cluster, takes the best recovery tier it qualifies for, falls to the next when one fails,\n" +
			"lets a read-only database transaction decide, and undoes what does not pass.\n\n" +
			"Exit codes: 0 recovered or evaluated, 1 not recovered, 2 could not run, 3 dirty (someone must look).",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetOut(out)
	root.SetErr(errw)
	pf := root.PersistentFlags()
	pf.StringVar(&o.stateDir, "state-dir", "", "directory of runs (default $FALLBACK_STATE/runs or ~/.local/state/fallback-chain/runs)")
	local := localcmd.New()
	local.AddCommand(faults.New(), faults.NewReset())
	root.AddCommand(
		modeCommand(o, "drill"), modeCommand(o, "recover"), modeCommand(o, "evaluate"),
		runsCommand(o), showCommand(o), abortCommand(o), resolveCommand(o), janitorCommand(o),
		graphcmd.New(), plancmd.New(), inventorycmd.New(),
		backupCommand(),
		local, demoCommand(o), benchCommand(o),
	)
	return root
}

func backupCommand() *cobra.Command {
	return backupcmd.New(backupcmd.Edges{Backups: runner.OpenBackups, Key: backupkey.Open, Connect: runner.Connect, Now: time.Now})
}

// outputFlag adds --output to a command.
func outputFlag(c *cobra.Command, o *options) {
	c.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if o.output != "text" && o.output != "json" {
			return fmt.Errorf("--output %q: expected text or json", o.output)
		}
		return nil
	}
}
