package rollback

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/undo"
	"fallbackchain.io/fallback/shared/volume"
)

// listed is how many lines of a list a section holds; the journal has all.
const listed = 20

// verdict reads back what was put back and says how the rollback stands.
func (w *work) verdict(ctx context.Context, out run.Undo, done bool) (run.Undo, error) {
	filter := ofTiers
	if !w.data || w.scalesBack() {
		filter = nil // a workload that stays at zero keeps its pauses: they are not undone, as the plan wants it
	}
	res, err := undo.Read(ctx, w.s.Journal, filter)
	if err != nil {
		return out, err
	}
	kept, err := w.dataRestored(ctx, &out)
	if err != nil {
		return out, err
	}
	out.PutBack, out.Left = short(res.PutBack), short(append(append([]string{}, w.without...), res.Left...))
	out.Reason, out.Message = "", ""
	switch {
	case !done && !w.s.Over(out.Deadline):
		out.Phase, out.Message = run.Running, w.doing
	case !done && len(w.notReady) == 0: // pods that are not ready are the last thing waited for, and decide nothing
		out.Phase, out.Reason, out.Message = run.Incomplete, string(fault.BudgetExceeded), "the rollback's budget was over while "+w.doing
	case w.failed != nil:
		out.Phase, out.Reason, out.Message = run.Incomplete, string(w.failed.Code), w.failed.Error()
	case !res.Complete() || len(w.without) > 0:
		out.Phase, out.Reason = run.Incomplete, string(fault.UndoIncomplete)
		out.Message = fmt.Sprintf("%d changes could not be put back", len(res.Left)+len(res.Waiting)+len(w.without))
	case w.data && len(out.DataRestored) == 0:
		out.Phase, out.Reason, out.Message = run.Incomplete, "NoDataPutBack", "the data was to be put back and none was"
	default:
		out.Phase, out.Message = run.Undone, strings.Join(append(w.notes(), kept...), "; ")
	}
	return out, nil
}

func (w *work) notes() []string {
	var out []string
	if w.data && !w.scalesBack() {
		out = append(out, "the workload stays at zero replicas and its owners paused, as the plan says")
	}
	if len(w.notReady) > 0 {
		out = append(out, "the pods were not ready again within the budget: "+firstOf(w.notReady))
	}
	return out
}

// dataRestored lists the claims that were read back as made from their snapshots, and the volumes that were kept.
func (w *work) dataRestored(ctx context.Context, out *run.Undo) (kept []string, err error) {
	out.DataRestored = nil
	if len(w.chosen) == 0 || w.s.Run.DryRun {
		return nil, nil
	}
	f, err := volume.Read(ctx, w.s.Cluster, w.s.Target(), w.s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return nil, err
	}
	for _, t := range w.chosen {
		if !w.provable(f, t) {
			continue
		}
		line := fmt.Sprintf("%s from snapshot %s of %s", t.point.Name, t.snapshot.Name, t.snapshot.TakenAt.UTC().Format(time.RFC3339))
		if f.Claim(t.point.Name).Status.Phase != corev1.ClaimBound {
			line += " (bound when a pod uses it)"
		}
		out.DataRestored = append(out.DataRestored, line)
		if t.point.Volume != "" {
			kept = append(kept, fmt.Sprintf("volume %s with the data from before is kept (Retain)", t.point.Volume))
		}
	}
	out.DataRestored = short(out.DataRestored)
	return short(kept), nil
}

func short(lines []string) []string {
	if len(lines) <= listed {
		return lines
	}
	return append(lines[:listed:listed], fmt.Sprintf("and %d more, which the journal has", len(lines)-listed))
}
