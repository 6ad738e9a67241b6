// Package report is the step that writes a run's evidence: JSON, Markdown and one HTML page.
package report

import (
	"context"
	"fmt"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/report"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/telemetry"
)

// Handler writes reports.
type Handler struct {
	Env   *step.Env
	Store report.Store
	// Visits returns the states that the run went through so far.
	Visits func(ctx context.Context, r run.Run) ([]report.Visit, error)
	// Count counts the run, when its report is written; nil where nobody counts.
	Count func(context.Context, telemetry.Run) error
}

// Handle is the step's only operation, "report".
func (h *Handler) Handle(ctx context.Context, op, _ string, r run.Run) (run.Report, error) {
	if op != "report" {
		return run.Report{}, fault.Newf(fault.Internal, "report", "unknown operation %q", op)
	}
	in := report.Input{Run: r, Now: h.Env.Now().UTC()}
	// A plan that cannot be read any more costs the objectives, a cluster that is away costs nothing: the report needs neither.
	if p, err := h.Env.LoadPlan(ctx, step.Pinned(r)); err == nil {
		in.RTO, in.RPO = p.Spec.Objectives.RTO.D(), p.Spec.Objectives.RPO.D()
	}
	var err error
	if in.Entries, err = entries(ctx, h.Env.Journals, r.ID); err != nil {
		return run.Report{}, fault.New(fault.Unavailable, "read the journal of run "+r.ID, err)
	}
	if in.Visits, err = h.Visits(ctx, r); err != nil {
		return run.Report{}, fault.New(fault.Unavailable, "read the history of run "+r.ID, err)
	}
	rep := report.Build(in)
	out := run.Report{Phase: run.Written}
	out.RTO, out.RPO = rep.Verdicts()
	for _, f := range []struct {
		name   string
		render func() ([]byte, error)
		uri    *string
	}{{"report.json", rep.JSON, &out.JSON}, {"report.md", rep.Markdown, &out.Markdown}, {"report.html", rep.HTML, &out.HTML}} {
		b, err := f.render()
		if err != nil {
			return run.Report{}, fault.New(fault.Internal, "render "+f.name, err)
		}
		if *f.uri, err = h.Store.Put(ctx, r.ID, f.name, b); err != nil {
			return run.Report{}, fault.New(fault.Unavailable, fmt.Sprintf("write %s of run %s", f.name, r.ID), err)
		}
		if f.name == "report.json" {
			out.Digest = report.Digest(b)
		}
	}
	if h.Count == nil {
		return out, nil
	}
	counted := telemetry.Run{ID: r.ID, Plan: r.Plan.Name, Mode: r.Mode, Outcome: rep.Outcome, RTO: out.RTO, RPO: out.RPO, Demotions: len(r.Demotions), At: in.Now}
	if err := h.Count(ctx, counted); err != nil {
		return run.Report{}, err
	}
	return out, nil
}

func entries(ctx context.Context, s journal.Store, id string) ([]journal.Entry, error) {
	j, err := s.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return j.Entries(ctx)
}
