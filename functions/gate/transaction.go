package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// again is how often a database that cannot be reached is tried while no pod changes.
const again = 2 * time.Second

// transaction asks the database of every chosen pod. A database that cannot be reached is tried again until the gate's deadline;
// an answer, also a wrong one, is final.
func (h *Handler) transaction(ctx context.Context, s *step.Session, out run.Gate) (run.Gate, error) {
	db := s.Plan.Spec.Workload.Database
	if db.Engine != plan.PostgreSQL {
		return out, fault.Newf(fault.NotQualified, "validate the database", "engine %q: expected %s", db.Engine, plan.PostgreSQL)
	}
	cred, err := h.credentials(ctx, s)
	if err != nil {
		return out, err
	}
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	began := time.Now()
	worked, final := time.Duration(0), false
	var gone *database.Unreachable
	_, err = s.Cluster.WaitFor(slice, again, []cluster.Source{{GVR: cluster.Pods, Namespace: s.Target()}}, func(ctx context.Context) (bool, error) {
		tried := time.Now()
		defer func() { worked += time.Since(tried) }()
		v, err := h.validate(ctx, s, cred)
		if errors.As(err, &gone) {
			out.Reason, out.Message = "DatabaseUnreachable", database.Cap(err.Error())
			return false, nil
		}
		if err == nil {
			out.Server, out.Checks, out.Phase, out.Reason, out.Message, out.PassedAt = v.server, v.checks, v.phase, v.reason, v.message, v.passedAt
			final = true
		}
		return err == nil, err
	})
	out.WaitedMS += max(time.Since(began)-worked, 0).Milliseconds()
	switch {
	case err != nil:
		return out, cluster.Fault("validate the database in namespace "+s.Target(), err)
	case final:
		return out, nil
	case s.Over(out.Deadline):
		out.Phase = run.Refused
		if out.Reason == "" {
			out.Reason, out.Message = string(fault.BudgetExceeded), "the gate's budget was over before the database could be asked"
		}
		return out, nil
	default:
		out.Phase = run.Running
		return out, nil
	}
}

// verdict is what one attempt at all chosen pods came to.
type verdict struct {
	server          string
	checks          []run.Check
	phase           run.Phase
	reason, message string
	passedAt        *time.Time
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
	for _, p := range chosen {
		v.server = p.session.Server
		results, err := p.session.Run(ctx, s.Plan.Spec.Workload.Database.Queries)
		for _, r := range results {
			v.checks = append(v.checks, run.Check{Pod: p.pod.Name, PodUID: string(p.pod.UID), Name: r.Name,
				Expected: r.Expected, Got: r.Got, OK: r.OK, TookMS: r.Took.Milliseconds()})
		}
		if err != nil {
			return attemptFailed(v, fmt.Errorf("pod %s: %w", p.pod.Name, err))
		}
	}
	failed := slices.DeleteFunc(slices.Clone(v.checks), func(c run.Check) bool { return c.OK })
	switch {
	case len(v.checks) == 0:
		return refuse(v, "NothingAsked", "no validation query was run"), nil
	case len(failed) > 0:
		c := failed[0]
		v = refuse(v, "ChecksFailed", "%d of %d checks failed; the first: %s on pod %s: expected %s, got %s", len(failed), len(v.checks), c.Name, c.Pod, c.Expected, c.Got)
	default:
		now := s.Now().UTC()
		v.phase, v.passedAt, v.message = run.Passed, &now, fmt.Sprintf("%d checks passed on %d pods", len(v.checks), len(chosen))
	}
	v.checks = fit(v.checks)
	return v, nil
}

// checksLimit leaves the rest of the section its share of run.SectionLimit.
const checksLimit = run.SectionLimit - 2<<10

// fit leaves out checks that a section has no room for: those that passed first, from the end. The message has the counts of all.
func fit(checks []run.Check) []run.Check {
	size := func(c run.Check) int {
		b, _ := json.Marshal(c) // plain values cannot fail
		return len(b) + 1
	}
	total := 0
	for _, c := range checks {
		total += size(c)
	}
	for _, droppable := range []bool{true, false} {
		for i := len(checks) - 1; i >= 0 && total > checksLimit; i-- {
			if checks[i].OK == droppable {
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
		return refuse(v, "RoleRefused", "%v", err), nil
	default:
		return refuse(v, "DatabaseRefused", "%v", err), nil
	}
}

// attempt holds the sessions of one attempt.
type attempt struct {
	*Handler
	s    *step.Session
	cred database.Credentials
	open []opened
}

type opened struct {
	pod     *corev1.Pod
	session *database.Session
}

func (a *attempt) close() {
	for _, o := range a.open {
		o.session.Close()
	}
}

// choose opens a session on each chosen pod: "each", an ordinal, or the primary: the one server that is not in recovery. why says
// why there is none.
func (a *attempt) choose(ctx context.Context, f *volume.Facts) (chosen []opened, why string, err error) {
	which, names := a.s.Plan.Spec.Workload.Database.Pod, podNames(f)
	if _, err := strconv.Atoi(which); err == nil {
		name := f.Name + "-" + which
		if !slices.Contains(names, name) {
			return nil, fmt.Sprintf("the plan's pod %s is not one of StatefulSet %s/%s", name, f.Namespace, f.Name), nil
		}
		names = []string{name}
	}
	for _, name := range names {
		if err := a.connect(ctx, f, name); err != nil {
			return nil, "", fmt.Errorf("pod %s: %w", name, err)
		}
	}
	switch {
	case len(a.open) == 0:
		return nil, fmt.Sprintf("StatefulSet %s/%s has no pods", f.Namespace, f.Name), nil
	case which != plan.DefaultPod:
		return a.open, "", nil
	}
	var found []string
	for _, o := range a.open {
		if !o.session.InRecovery {
			chosen, found = append(chosen, o), append(found, o.pod.Name)
		}
	}
	if len(chosen) != 1 {
		return nil, fmt.Sprintf("%d pods are not in recovery (%s), expected exactly one primary", len(chosen), strings.Join(found, ", ")), nil
	}
	return chosen, "", nil
}

// connect opens a session on one pod, checked by the UID that was read.
func (a *attempt) connect(ctx context.Context, f *volume.Facts, name string) error {
	i := slices.IndexFunc(f.Pods, func(p corev1.Pod) bool { return p.Name == name })
	if i < 0 {
		return &database.Unreachable{Err: errors.New("it does not exist")}
	}
	p, db := &f.Pods[i], a.s.Plan.Spec.Workload.Database
	session, err := database.Open(ctx, database.Target{
		Dial:     func(ctx context.Context) (net.Conn, error) { return a.dial(ctx, a.s, p.Name, p.UID) },
		Database: db.Name, Credentials: a.cred, StatementTimeout: db.StatementTimeout.D(),
	})
	if err != nil {
		return err
	}
	a.open = append(a.open, opened{p, session})
	return nil
}

// podNames are the pods that the StatefulSet asks for.
func podNames(f *volume.Facts) []string {
	if f.StatefulSet == nil {
		return nil
	}
	var out []string
	for i := range volume.Replicas(f.StatefulSet) {
		out = append(out, f.Name+"-"+strconv.Itoa(int(volume.Start(f.StatefulSet)+i)))
	}
	return out
}

// credentials reads the role from the Secret in the namespace that is validated, or from the process's environment.
func (h *Handler) credentials(ctx context.Context, s *step.Session) (database.Credentials, error) {
	c := s.Plan.Spec.Workload.Database.Credentials
	switch {
	case c.Secret != nil:
		op := "read Secret " + s.Target() + "/" + c.Secret.Name
		sec, err := cluster.Get[corev1.Secret](ctx, s.Cluster, cluster.Secrets, s.Target(), c.Secret.Name)
		if err != nil {
			return database.Credentials{}, cluster.Fault(op, err)
		}
		user, uok := sec.Data[c.Secret.UsernameKey]
		pass, pok := sec.Data[c.Secret.PasswordKey]
		if !uok || !pok {
			return database.Credentials{}, fault.Newf(fault.ObjectsMissing, op, "it has no keys %q and %q", c.Secret.UsernameKey, c.Secret.PasswordKey)
		}
		return database.Credentials{Username: string(user), Password: string(pass)}, nil
	case c.Environment != nil:
		lookup := h.LookupEnv
		if lookup == nil {
			lookup = os.LookupEnv
		}
		user, uok := lookup(c.Environment.Username)
		pass, pok := lookup(c.Environment.Password)
		if !uok || !pok {
			return database.Credentials{}, fault.Newf(fault.ObjectsMissing, "read the database credentials", "the environment variables %s and %s are not both set", c.Environment.Username, c.Environment.Password)
		}
		return database.Credentials{Username: user, Password: pass}, nil
	default:
		return database.Credentials{}, fault.Newf(fault.PlanInvalid, "read the database credentials", "spec.workload.database.credentials names neither a Secret nor environment variables")
	}
}
