// Package degraded is the tier DegradedStatefulSet: one replica of the workload, behind a verified quarantine, with its placement and
// resources relaxed as the plan says (graph states DegradedStatefulSet and AwaitDegradedStatefulSet).
//
// Start keeps the data first: the volumes' reclaim policy and the StatefulSet's persistentVolumeClaimRetentionPolicy are set to
// Retain and read back, and a missing claim of the replica is made from its retained volume or from a snapshot, never empty. Then
// the StatefulSet is scaled to one with its template relaxed; one that is gone is built from the inventory's objects whose
// digests match.
package degraded

import (
	"context"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// Handler serves the operations start and await.
type Handler struct{ Env *step.Env }

// Handle runs one operation.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Tier, error) {
	return step.Ops[run.Tier]{"start": start, "await": await}.Serve(ctx, h.Env, "degraded", op, state, r)
}

// Bounds of the section's lists.
const (
	listItems = 12
	listRunes = 200
)

// Isolated refuses to run outside a quarantine that was verified at the plan's level.
func Isolated(q *run.Quarantine, namespace string, level plan.QuarantineLevel) error {
	op := "run the degraded replica in " + namespace
	switch {
	case q == nil:
		return fault.Newf(fault.IsolationBroken, op, "the namespace was not quarantined")
	case q.Namespace != namespace:
		return fault.Newf(fault.IsolationBroken, op, "the quarantine is of namespace %s", q.Namespace)
	case q.Phase != run.Verified:
		return fault.Newf(fault.IsolationBroken, op, "the quarantine is %s, expected Verified", q.Phase)
	case level == "" || q.Level != string(level):
		return fault.Newf(fault.IsolationBroken, op, "the quarantine is verified at level %q, the plan asks for %q", q.Level, level)
	}
	return nil
}

// work is one start.
type work struct {
	s     *step.Session
	ch    *change.Changer
	facts *volume.Facts
	found []string
	done  []string
}

func (w *work) foundf(format string, args ...any) {
	w.found = append(w.found, fmt.Sprintf(format, args...))
}
func (w *work) didf(format string, args ...any) {
	w.done = append(w.done, fmt.Sprintf(format, args...))
}

func start(ctx context.Context, s *step.Session) (run.Tier, error) {
	tier := s.Plan.Spec.Tiers.DegradedStatefulSet
	out := run.Tier{Waiting: run.Waiting{Deadline: s.Deadline(tier.Budget)}}
	// A dry run has no quarantine to verify: nothing is changed behind it.
	if err := Isolated(s.Run.Quarantine, s.Target(), s.Plan.Spec.Quarantine.Level); err != nil && !s.Run.DryRun {
		return out, err
	}
	facts, err := volume.Read(ctx, s.Cluster, s.Target(), s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return out, err
	}
	w := &work{s: s, ch: s.Changer(), facts: facts}
	if facts.StatefulSet != nil {
		err = w.scaleDown(ctx)
	} else {
		err = w.build(ctx)
	}
	if err != nil {
		return out, err
	}
	out.Phase = run.Started
	out.Found, out.Done = run.Few(w.found, listItems, listRunes), run.Few(w.done, listItems, listRunes)
	out.Message = fmt.Sprintf("pod %s alone is wanted in %s", firstPod(s.Plan.Spec.Workload.StatefulSet, facts.StatefulSet), s.Target())
	return out, nil
}

// firstPod is the replica that stays: the one with the first ordinal.
func firstPod(name string, s *appsv1.StatefulSet) string {
	first := int32(0)
	if s != nil {
		first = volume.Start(s)
	}
	return name + "-" + strconv.Itoa(int(first))
}
