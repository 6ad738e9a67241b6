package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"fallbackchain.io/fallback/shared/database"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// verdict is what one attempt at all chosen pods came to.
type verdict struct {
	server          string
	checks          []run.Check
	phase           run.Phase
	reason, message string
	proved          bool
	lag             *lag
	from            *run.RestorePoint
	passedAt        *time.Time
}

// into writes the verdict into the section.
func (v verdict) into(out *run.Gate) {
	out.Server, out.Checks, out.Phase, out.Reason, out.Message, out.PassedAt = v.server, v.checks, v.phase, v.reason, v.message, v.passedAt
	out.DataProved, out.RestoredFrom = v.proved, v.from
	out.HeartbeatAt, out.HeartbeatPod, out.RPOMS, out.NotMeasured = nil, "", nil, ""
	switch l := v.lag; {
	case l == nil:
	case l.own:
		out.NotMeasured = run.Short(l.why(), 400)
	default:
		ms := l.age.Milliseconds()
		out.HeartbeatAt, out.HeartbeatPod, out.RPOMS = &l.at, l.pod, &ms
	}
}

func refuse(v verdict, reason, format string, args ...any) verdict {
	v.phase, v.reason, v.message = run.Refused, reason, database.Cap(fmt.Sprintf(format, args...))
	return v
}

// validate makes one attempt. An error is Unreachable (try again) or a fault.
func (h *Handler) validate(ctx context.Context, s *step.Session, cred database.Credentials) (verdict, error) {
	var v verdict
	a := &attempt{Handler: h, s: s, cred: cred}
	defer a.close()
	f, err := volume.ReadWorkload(ctx, s.Cluster, s.Target(), s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return v, err
	}
	chosen, why, err := a.choose(ctx, f)
	if err != nil {
		return attemptFailed(v, err)
	}
	if why != "" {
		return refuse(v, "NoPodToAsk", "%s", why), nil
	}
	db := s.Plan.Spec.Workload.Database
	origins, all := readOrigins(ctx, s), origin{}
	beats := make([]beat, 0, len(chosen))
	for _, p := range chosen {
		from := origins.of(p.pod)
		all = all.and(from)
		v.server = p.session.Server
		results, err := p.session.Run(ctx, database.Questions{Queries: db.Queries, Heartbeat: db.Heartbeat, Canary: db.Canary, Now: s.Now()})
		for _, r := range results {
			c := run.Check{Pod: p.pod.Name, PodUID: string(p.pod.UID), Name: r.Name, Kind: string(r.Kind),
				Expected: r.Expected, Got: r.Got, OK: r.OK, TookMS: r.Took.Milliseconds()}
			v.checks = append(v.checks, c)
			own := r.At != nil && from.wrote(*r.At, triggered(s.Run))
			v.proved = v.proved || (c.OK && proves(c) && !own)
			if r.At != nil {
				beats = append(beats, beat{at: *r.At, pod: c.Pod, uid: c.PodUID, from: from})
			}
		}
		if err != nil {
			return attemptFailed(v, fmt.Errorf("pod %s: %w", p.pod.Name, err))
		}
	}
	if len(v.checks) == 0 {
		return refuse(v, "NothingAsked", "no validation query was run"), nil
	}
	if all.restored && all.unknown == "" {
		v.from = &all.point
	}
	v.judge(s, len(chosen), beats)
	v.checks = fit(v.checks)
	return v, nil
}

// proves tells whether a check says something about the data itself.
func proves(c run.Check) bool {
	switch plan.QueryKind(c.Kind) {
	case plan.RowCountQuery, plan.ChecksumQuery, database.HeartbeatKind, database.CanaryKind:
		return true
	}
	return false
}

// judge comes to the verdict of the checks of all pods.
func (v *verdict) judge(s *step.Session, pods int, beats []beat) {
	missed, notes := false, ""
	if len(beats) == pods {
		v.lag = most(beats, triggered(s.Run))
		if objective := s.Plan.Spec.Objectives.RPO.D(); objective > 0 {
			c := v.lag.against(objective)
			v.checks = append(v.checks, c)
			if missed = !c.OK && s.Run.Mode != run.Drill; missed {
				notes = fmt.Sprintf("; the RPO objective was %s: expected %s, got %s", map[bool]string{true: "missed", false: "not proved"}[v.lag.known], c.Expected, c.Got)
			}
		}
		if v.lag.own {
			notes += "; " + v.lag.why()
			if v.from = nil; v.lag.known {
				v.from = &v.lag.from.point
			}
		}
	}
	var failed []run.Check
	for _, c := range v.checks {
		if !c.OK && (c.Kind != objectiveKind || !missed) {
			failed = append(failed, c)
		}
	}
	if len(failed) > 0 {
		c := failed[0]
		reason := "ChecksFailed"
		if c.Kind == objectiveKind {
			reason = "ObjectiveMissed"
		}
		*v = refuse(*v, reason, "%d of %d checks failed; the first: %s on pod %s: expected %s, got %s%s", len(failed), len(v.checks), c.Name, c.Pod, c.Expected, c.Got, notes)
		return
	}
	now := s.Now().UTC()
	passed := 0
	for _, c := range v.checks {
		if c.OK {
			passed++
		}
	}
	v.phase, v.passedAt, v.message = run.Passed, &now, fmt.Sprintf("%d checks passed on %d pods%s", passed, pods, notes)
	if !v.proved {
		v.message += "; nothing proved the data: the plan has smoke queries only"
	}
}

// checksLimit leaves the rest of the section its share of run.SectionLimit.
const checksLimit = run.SectionLimit - 2<<10

// fit leaves out checks that a section has no room for: from the end, smoke queries that passed first, then what else
// passed. The message has the counts of all.
func fit(checks []run.Check) []run.Check {
	size := func(c run.Check) int {
		b, _ := json.Marshal(c) // plain values cannot fail
		return len(b) + 1
	}
	total := 0
	for _, c := range checks {
		total += size(c)
	}
	for _, droppable := range []func(run.Check) bool{
		func(c run.Check) bool { return c.OK && !proves(c) },
		func(c run.Check) bool { return c.OK },
		func(run.Check) bool { return true },
	} {
		for i := len(checks) - 1; i >= 0 && total > checksLimit; i-- {
			if droppable(checks[i]) {
				total -= size(checks[i])
				checks = slices.Delete(checks, i, i+1)
			}
		}
	}
	return checks
}

// attemptFailed sorts what ended an attempt: faults of the API server and what may go away are errors, the rest is a refusal.
func attemptFailed(v verdict, err error) (verdict, error) {
	var f *fault.Fault
	var gone *database.Unreachable
	var refused *database.Refused
	switch {
	case errors.As(err, &f), errors.As(err, &gone):
		return v, err
	case errors.As(err, &refused):
		return refuse(v, refused.Code, "%v", err), nil
	default:
		return refuse(v, "DatabaseRefused", "%v", err), nil
	}
}
