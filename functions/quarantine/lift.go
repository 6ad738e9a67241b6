package quarantine

import (
	"context"
	"fmt"
	"strings"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/quarantine"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/undo"
)

// lift opens the workload's namespace again: the suspended policies are put back first, then the run's own are removed, so that at no
// moment less is closed than was before the run. Both are read back.
func lift(ctx context.Context, s *step.Session) (run.Quarantine, error) {
	q := section(s)
	if q.Phase != run.Running || q.Deadline == nil {
		// The first call. The budget counts anew: apply's may be long over.
		q.Waiting = run.Waiting{Deadline: s.Deadline(s.Plan.Spec.Quarantine.Budget), Rounds: q.Rounds, WaitedMS: q.WaitedMS}
	}
	q.Rounds++
	slice, cancel := s.Slice(ctx, q.Deadline)
	defer cancel()
	began := s.Now()
	res, err := undo.Entries(slice, undo.Deps{Cluster: s.Cluster, Changer: s.Changer()}, ours(s.Target(), s.Run.ID))
	q.WaitedMS += s.Now().Sub(began).Milliseconds()
	if err != nil {
		return q, err
	}
	if len(res.Waiting) > 0 && !s.Over(q.Deadline) {
		q.Phase, q.Message = run.Running, "policies are being put back"
		return q, nil
	}
	if !res.Complete() {
		return broken(q, "the quarantine could not be lifted", append(res.Left, res.Waiting...)), nil
	}
	left, err := list(ctx, s)
	if err != nil {
		return q, err
	}
	var findings []string
	for _, p := range left {
		if p.Labels[change.LabelRun] == s.Run.ID && strings.HasPrefix(p.Name, quarantine.PolicyPrefix(s.Run.ID)) {
			findings = append(findings, "NetworkPolicy "+p.Name+" is still there")
		}
	}
	if len(findings) > 0 {
		return broken(q, "the quarantine could not be lifted", findings), nil
	}
	q.Phase, q.Policies, q.Findings = run.Lifted, nil, run.Few(res.PutBack, listItems, listRunes)
	q.Message = fmt.Sprintf("%d changes to the policies of %s were undone", len(res.PutBack), q.Namespace)
	return q, nil
}

// ours chooses what apply did to the namespace's policies: those it made, and those it suspended.
func ours(namespace, runID string) func(journal.Entry) bool {
	return func(e journal.Entry) bool {
		o := e.Object
		if o.Resource != "networkpolicies" || o.Namespace != namespace {
			return false
		}
		return strings.HasPrefix(o.Name, quarantine.PolicyPrefix(runID)) || e.Verb == journal.Delete
	}
}
