package telemetry

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// Claims remembers which ends of runs were counted.
type Claims interface {
	// Take keeps the document under the run, unless there is one: first tells whether it is this one, also when the answer to
	// an earlier try was lost.
	Take(ctx context.Context, runID, name string, document []byte) (first bool, err error)
}

// claim is the document's name beside the run's report.
func claim(o run.Outcome) string { return "metrics-" + string(o) + ".json" }

// Once counts each run once an outcome. Report is tried again after a lost answer, redriven, and done anew by the janitor: that counts
// nothing twice. A run that the janitor ended as Aborted and somebody redrove may end Dirty; that has to be counted, or its alarm is silent.
type Once struct {
	Claims Claims
	// Out is the function's standard output.
	Out io.Writer
}

// Count writes the run's line, unless the run was counted with this outcome before. The claim comes first: what ends the process between the two loses the
// line, and nothing counts an end twice. (CloudWatch itself delivers at least once.)
func (o Once) Count(ctx context.Context, r Run) error {
	doc, err := r.Document()
	if err != nil {
		return fault.New(fault.Internal, "count the run", err)
	}
	first, err := o.Claims.Take(ctx, r.ID, claim(r.Outcome), doc)
	if err != nil || !first {
		return err
	}
	return write(o.Out, doc)
}

// write writes one line at once: lines of other writers do not come between.
func write(w io.Writer, doc []byte) error {
	if _, err := w.Write(append(doc, '\n')); err != nil {
		return fault.New(fault.Unavailable, "write the metrics", err)
	}
	return nil
}

// Admit is the admit function's handler.
type Admit = func(context.Context, json.RawMessage) (run.Admit, error)

// Skips counts the runs that admit skips, which never come to a report. A call whose answer is lost is made again and counts again: to
// remember it, the function that takes every event would need the right to write.
func Skips(out io.Writer, now func() time.Time, next Admit) Admit {
	return func(ctx context.Context, payload json.RawMessage) (run.Admit, error) {
		section, err := next(ctx, payload)
		if err != nil || section.Phase != run.NotAdmitted {
			return section, err
		}
		var req run.Request
		if err := json.Unmarshal(payload, &req); err != nil {
			return section, nil //nolint:nilerr // the handler read it; what it skipped stays skipped
		}
		r := Run{ID: req.Run.ID, Plan: req.Run.Plan.Name, Mode: req.Run.Mode, Outcome: run.Skipped, At: now()}
		doc, err := r.Document()
		if err == nil {
			_ = write(out, doc) // a line less in the log changes no run
		}
		return section, nil
	}
}
