package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/cmd/fallback/view"
)

// finishDead finishes the runs whose process died before a new one begins. One that cannot be finished now (its cluster is
// away) is said and left for the next start; its lease keeps others from the workload.
func finishDead(ctx context.Context, o *options, r *runner.Runner) error {
	dead, err := r.Dead()
	switch {
	case errors.Is(err, runstore.ErrUnreadable):
		return exit{exitCouldNotRun, fmt.Errorf("%w; nothing was begun", err)}
	case err != nil:
		fmt.Fprintln(o.err, "fallback: some runs cannot be read:", err)
	}
	for _, s := range dead {
		fmt.Fprintf(o.err, "run %s died before %s; finishing it first\n", s.ID, orDash(s.Checkpoint.Next))
		res, err := r.Finish(ctx, s.ID)
		var early runner.CouldNotRun
		switch {
		case errors.As(err, &early):
			fmt.Fprintln(o.err, "fallback:", err)
		case err != nil:
			return exit{exitCouldNotRun, err}
		default:
			fmt.Fprintf(o.err, "run %s ended %s\n", s.ID, res.End.Terminal)
		}
	}
	return nil
}

func janitorCommand(o *options) *cobra.Command {
	var asFunctions bool
	c := &cobra.Command{Use: "janitor RUN", Short: "finish a run whose process died", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		st, err := o.store()
		if err != nil {
			return err
		}
		r := runner.New(st)
		r.AsFunctions = asFunctions
		if !o.json() {
			live := &view.Live{W: o.err, Terminal: o.live()}
			r.OnEvent, r.OnChange = live.Event, live.Change
		}
		res, err := r.Finish(cmd.Context(), args[0])
		return o.ended(st.Dir, res, err)
	}}
	asFunctionsFlag(c, &asFunctions)
	outputFlag(c, o)
	return c
}

func resolveCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "resolve RUN", Short: "clear a Dirty run after you looked: releases the workload's lease",
		Long: "A run that ends Dirty could not put everything back or could not verify it. It keeps the workload's lease, so that no other run changes\n" +
			"the workload before a person has looked. Read its report (fallback show RUN), mend what it names, then resolve it.",
		Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			st, err := o.store()
			if err != nil {
				return err
			}
			if err := runner.New(st).Resolve(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(o.out, "run %s is resolved; the workload's lease is free\n", args[0])
			return nil
		},
	}
}
