package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/database"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

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

// choose opens a session on each chosen pod: "each", an ordinal, or the primary: the one server that is no replica
// (database.Session.Replica). why says why there is none.
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
		if !o.session.Replica {
			chosen, found = append(chosen, o), append(found, o.pod.Name)
		}
	}
	if len(chosen) != 1 {
		return nil, fmt.Sprintf("%d pods are no replica (%s), expected exactly one primary", len(chosen), strings.Join(found, ", ")), nil
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
		Engine:   db.Engine,
		Dial:     func(ctx context.Context) (net.Conn, error) { return a.dial(ctx, a.s, p.Name, p.UID) },
		Database: db.Name, Credentials: a.cred, StatementTimeout: db.StatementTimeout.D(), TLS: db.TLS,
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
