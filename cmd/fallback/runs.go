package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/shared/run"
)

// row is one run in a list.
type row struct {
	ID        string      `json:"id"`
	Plan      string      `json:"plan"`
	Mode      run.Mode    `json:"mode"`
	StartedAt time.Time   `json:"startedAt"`
	EndedAt   *time.Time  `json:"endedAt,omitempty"`
	Outcome   run.Outcome `json:"outcome,omitempty"`
	// Status is Running, Died (its process is gone), Ended or Resolved.
	Status string `json:"status"`
	Report string `json:"report,omitempty"`
}

func rowOf(s runstore.Saved) row {
	r := row{ID: s.ID, Plan: s.Run.Plan.Name, Mode: s.Run.Mode, StartedAt: s.Run.StartedAt, Status: "Ended"}
	switch {
	case s.End != nil:
		r.EndedAt, r.Outcome = &s.End.At, s.End.Outcome
		if s.End.Resolved != nil {
			r.Status = "Resolved"
		}
		if s.End.Outcome == "" {
			r.Status = s.End.Terminal
		}
	case s.Alive:
		r.Status = "Running"
	default:
		r.Status = "Died"
	}
	if html := filepath.Join(s.Dir, "report.html"); exists(html) {
		r.Report = html
	}
	return r
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func runsCommand(o *options) *cobra.Command {
	var aws awsOptions
	c := &cobra.Command{Use: "runs", Short: "list the runs of this machine, or with --aws of the state machine", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if aws.enabled {
			return runsAWS(cmd.Context(), o, aws)
		}
		st, err := o.store()
		if err != nil {
			return err
		}
		all, err := st.List()
		rows := make([]row, 0, len(all))
		for _, s := range all {
			rows = append(rows, rowOf(s))
		}
		if o.json() {
			return errors.Join(json.NewEncoder(o.out).Encode(rows), err)
		}
		w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RUN\tPLAN\tMODE\tSTARTED\tTOOK\tSTATUS\tOUTCOME\tREPORT")
		for _, r := range rows {
			took := "-"
			if r.EndedAt != nil {
				took = r.EndedAt.Sub(r.StartedAt).Round(100 * time.Millisecond).String()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Plan, r.Mode, r.StartedAt.Local().Format(time.DateTime), took, r.Status, orDash(string(r.Outcome)), orDash(r.Report))
		}
		return errors.Join(w.Flush(), err)
	}}
	aws.flags(c)
	outputFlag(c, o)
	return c
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func showCommand(o *options) *cobra.Command {
	var aws awsOptions
	c := &cobra.Command{Use: "show RUN", Short: "show a run's report", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if aws.enabled {
			return showAWS(cmd.Context(), o, aws, args[0])
		}
		st, err := o.store()
		if err != nil {
			return err
		}
		s, err := st.Load(args[0])
		if err != nil {
			return err
		}
		name := "report.md"
		if o.json() {
			name = "report.json"
		}
		b, err := os.ReadFile(filepath.Join(s.Dir, name))
		if errors.Is(err, os.ErrNotExist) {
			r := rowOf(s)
			if o.json() {
				return json.NewEncoder(o.out).Encode(r)
			}
			fmt.Fprintf(o.out, "run %s: %s, no report yet; next state %s\n", r.ID, r.Status, orDash(s.Checkpoint.Next))
			return nil
		}
		if err != nil {
			return err
		}
		_, err = o.out.Write(b)
		return err
	}}
	aws.flags(c)
	outputFlag(c, o)
	return c
}

func abortCommand(o *options) *cobra.Command {
	var aws awsOptions
	c := &cobra.Command{Use: "abort RUN", Short: "ask a run to stop; what it changed is undone", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if aws.enabled {
			return abortAWS(cmd.Context(), o, aws, args[0])
		}
		st, err := o.store()
		if err != nil {
			return err
		}
		s, err := st.Load(args[0])
		switch {
		case err != nil:
			return err
		case s.End != nil:
			return fmt.Errorf("run %s has ended already (%s)", s.ID, s.End.Terminal)
		case !s.Alive:
			return fmt.Errorf("run %s has no process any more; fallback janitor %s finishes it", s.ID, s.ID)
		}
		if err := st.RequestAbort(s.ID); err != nil {
			return err
		}
		fmt.Fprintf(o.out, "run %s was asked to stop; it undoes its changes and reports\n", s.ID)
		return nil
	}}
	aws.flags(c)
	return c
}
