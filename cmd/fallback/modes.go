package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/view"
	"fallbackchain.io/fallback/shared/run"
)

var modeHelp = map[run.Mode]string{
	run.Drill:    "restore the workload into quarantine, verify it, tear it down; production is only read",
	run.Recover:  "repair the live workload in place",
	run.Evaluate: "look at the cluster and say what a run would find; changes nothing",
}

func modeCommand(o *options, name string) *cobra.Command {
	mode := run.Mode(name)
	var planPath string
	var dry, asFunctions bool
	var aws awsOptions
	c := &cobra.Command{
		Use:   name + " -f plan.yaml",
		Short: modeHelp[mode],
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if aws.enabled {
				if dry {
					return errors.New("--dry-run works on local runs only: with --aws use evaluate, which changes nothing")
				}
				if asFunctions {
					return errors.New("--as-functions is about local runs: with --aws each function is itself")
				}
				return startAWS(cmd.Context(), o, aws, mode, planPath)
			}
			return startLocal(cmd.Context(), o, asFunctions, runner.Request{Mode: mode, PlanPath: planPath, DryRun: dry, Requester: requester()})
		},
	}
	c.Flags().StringVarP(&planPath, "file", "f", "", "the plan")
	c.Flags().BoolVar(&dry, "dry-run", false, "print each change before it is made and make none")
	aws.flags(c)
	asFunctionsFlag(c, &asFunctions)
	outputFlag(c, o)
	_ = c.MarkFlagRequired("file")
	return c
}

// asFunctionsFlag adds --as-functions to a command that runs steps in this process.
func asFunctionsFlag(c *cobra.Command, to *bool) {
	c.Flags().BoolVar(to, "as-functions", false, "let each step connect as its function does in AWS, by the context fallback-chain:<function> of the plan's kubeconfig")
}

func requester() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// startLocal runs a plan in this process. The first Ctrl-C asks the run to stop, which undoes what was done; the second ends
// the process, and the next start finishes the run.
func startLocal(ctx context.Context, o *options, asFunctions bool, q runner.Request) error {
	st, err := o.store()
	if err != nil {
		return err
	}
	r := runner.New(st)
	r.AsFunctions = asFunctions
	live := &view.Live{W: o.err, Terminal: o.live()}
	if !o.json() {
		r.OnEvent, r.OnChange = live.Event, live.Change
	}
	if err := finishDead(ctx, o, r); err != nil {
		return err
	}
	running, done := interruptible(ctx, o, r)
	defer done()
	res, err := r.Start(running, q)
	return o.ended(st.Dir, res, err)
}

// interruptible turns the first interrupt into an abort of the run. The returned function ends the listening.
func interruptible(ctx context.Context, o *options, r *runner.Runner) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-out.Done():
			return
		case <-ctx.Done():
		}
		if out.Err() != nil {
			return // the run was over first
		}
		fmt.Fprintln(o.err, "\nstopping: what was changed is being undone (press Ctrl-C again to leave it to the next start)")
		r.RequestAbort()
		// A signal that is sent to the process and to its group arrives twice: only one that comes later is a second one.
		<-time.After(time.Second)
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		<-again
		cancel()
	}()
	return out, cancel
}

// ended prints how a run ended, or why it did not.
func (o *options) ended(dir string, res runner.Result, err error) error {
	var lost runner.NotKept
	switch {
	case err == nil:
		return o.finish(dir, res)
	case !errors.As(err, &lost):
		return couldNotFinish(res, err)
	}
	code := 0
	if e := (exit{}); errors.As(o.finish(dir, res), &e) {
		code = e.code
	}
	if res.End.Outcome == run.Aborted {
		code = exitCouldNotRun // nothing was changed
	}
	return exit{code, fmt.Errorf("run %s ended %s, and %w; make room, then fallback janitor %s looks at it again", res.Run.ID, res.End.Terminal, lost, res.Run.ID)}
}

// couldNotFinish tells a run that could not begin from one that was cut off.
func couldNotFinish(res runner.Result, err error) error {
	var early runner.CouldNotRun
	if errors.As(err, &early) || res.Run.ID == "" {
		return exit{exitCouldNotRun, err}
	}
	return exit{exitCouldNotRun, fmt.Errorf("run %s was cut off: %w; the next fallback command, or fallback janitor %s, finishes it", res.Run.ID, err, res.Run.ID)}
}

// finish prints how a run ended and turns its outcome into the exit code.
func (o *options) finish(dir string, res runner.Result) error {
	if o.json() {
		e := json.NewEncoder(o.out)
		e.SetIndent("", "  ")
		if err := e.Encode(res); err != nil {
			return err
		}
	} else {
		view.Summary(o.out, dir, res.Run, res.End.Terminal, res.End.Error, res.End.Cause, res.DryRunEndedBefore)
	}
	switch {
	case res.DryRunEndedBefore != "":
		return nil
	case res.End.Outcome == "":
		return exit{exitCouldNotRun, fmt.Errorf("run %s ended in %s: %s", res.Run.ID, res.End.Terminal, res.End.Cause)}
	case res.End.Outcome.ExitCode() != 0:
		return exit{res.End.Outcome.ExitCode(), nil}
	default:
		return nil
	}
}
