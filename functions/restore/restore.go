// Package restore brings the inventory into a drill's namespace, neutralised (graph states RestoreIntoQuarantine and AwaitRestore): of
// a manifest bundle claims from snapshots first, then the objects; a Velero backup by a Velero Restore with namespace mapping and
// resource modifiers.
package restore

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
)

// Handler serves the operations start and await.
type Handler struct{ Env *step.Env }

// Handle runs one operation.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Restore, error) {
	if r.Mode != run.Drill {
		return run.Restore{}, fault.Newf(fault.InputInvalid, "restore", "mode is %q: only a drill restores into a namespace of its own", r.Mode)
	}
	return step.Ops[run.Restore]{"start": start, "await": await}.Serve(ctx, h.Env, "restore", op, state, r)
}

// Bounds of the section's lists: the journal has every claim and object.
const (
	claimItems  = 8
	listItems   = 20
	resultItems = 10
	listRunes   = 160
)

// ResultsFile is the evidence of what Velero said by item, where the section cannot hold it.
const ResultsFile = "restore-results.json"

// isolated refuses to restore into a namespace whose quarantine was not verified at the plan's level.
func isolated(s *step.Session) error {
	q, level := s.Run.Quarantine, string(s.Plan.Spec.Quarantine.Level)
	if q == nil || q.Phase != run.Verified || q.Namespace != s.Target() || q.Level != level {
		return fault.Newf(fault.IsolationBroken, "restore into "+s.Target(), "its quarantine is not verified at level %s", level)
	}
	return nil
}

// start verifies the inventory and makes everything; it waits for nothing.
func start(ctx context.Context, s *step.Session) (run.Restore, error) {
	out := run.Restore{Namespace: s.Target(), Waiting: run.Waiting{Deadline: s.Deadline(s.Plan.Spec.Drill.RestoreBudget)}}
	if err := isolated(s); err != nil {
		return out, err
	}
	b, verified, err := s.VerifiedInventory(ctx)
	if err != nil {
		return out, err
	}
	if b != nil {
		defer b.Close()
	}
	if b == nil || verified.Status != signal.True {
		return out, fault.Newf(fault.InventoryBroken, "restore into "+out.Namespace, "the inventory is not verified: %s: %s", verified.Reason, verified.Message)
	}
	if s.RestoredByVelero() {
		return startVelero(ctx, s, out)
	}
	objects, findings := b.Objects(ctx)
	if len(findings) > 0 {
		// They verified a moment ago: somebody is changing the bundle.
		return out, fault.Newf(fault.InventoryBroken, "restore into "+out.Namespace, "%s", findings[0])
	}
	from := s.Plan.Spec.Workload.Namespace
	st, err := workloadOf(objects, from, s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return out, err
	}
	wanted, leftOut, err := neutralised(objects, from, out.Namespace, s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return out, err
	}
	ch := s.Changer()
	claims, without, err := restoreClaims(ctx, s, ch, b, objects, st)
	if err != nil {
		return out, err
	}
	leftOut = append(leftOut, without...)
	out.Claims = claims[:min(len(claims), claimItems)]
	for _, o := range wanted {
		if _, err := ch.Create(ctx, o, "restore from the inventory"); err != nil {
			return out, err
		}
		out.Objects++
	}
	at := s.Now()
	out.Phase, out.ObjectsAt = run.Started, &at
	out.LeftOut = run.Few(leftOut, listItems, listRunes)
	out.Message = fmt.Sprintf("%d claims and %d objects of %s restored into %s, %d objects left out", len(claims), out.Objects, from, out.Namespace, len(leftOut))
	return out, nil
}

// neutralised are the objects to restore, and what is left out. A workload that cannot be made harmless refuses the restore, before
// anything is made. Claims are not among them: they come from snapshots.
func neutralised(objects []*unstructured.Unstructured, from, to, statefulSet string) (wanted []*unstructured.Unstructured, leftOut []string, err error) {
	for _, o := range objects {
		if o.GetKind() == "PersistentVolumeClaim" && o.GetNamespace() == from {
			continue
		}
		neutral, why := Neutralise(o, from, to)
		switch {
		case why == "":
			wanted = append(wanted, neutral)
		case o.GetKind() == "StatefulSet" && o.GetName() == statefulSet && o.GetNamespace() == from:
			return nil, nil, fault.Newf(fault.NotQualified, "restore StatefulSet "+statefulSet, "%s", why)
		default:
			leftOut = append(leftOut, fmt.Sprintf("%s: %s", title(o), why))
		}
	}
	return wanted, leftOut, nil
}
