// Package lease keeps two runs from changing one workload at the same time. There is one Kubernetes Lease per workload in
// the namespace fallback-chain of the target cluster; etcd's compare-and-swap on its resourceVersion is the lock. The
// holder is the run's ID, so taking it again is re-entrant. It is released by clearing the holder and never deleted: a
// deleted Lease would come back with a new UID and nobody could tell a release from a loss.
//
// Holding is a guard, not a proof: a function that was stopped may still be running for as long as its timeout. Who takes a
// lease from a holder therefore first marks it (from then on the holder's own guard says no) and waits out the longest
// function timeout.
package lease

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
)

// Namespace holds every lease. Backups and restores leave it out.
const Namespace = "fallback-chain"

// Annotations of a lease. Mode and plan are the holder's; the marks are those of a run that is taking it over.
const (
	AnnotationMode        = "fallbackchain.io/mode"
	AnnotationPlan        = "fallbackchain.io/plan"
	AnnotationPreemptedBy = "fallbackchain.io/preempted-by"
	AnnotationPreemptedAt = "fallbackchain.io/preempted-at"
)

// maxName is the most characters of an object's name
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names).
const maxName = 253

// Name of a workload's lease: "<namespace>.<statefulset>". A namespace has no dot, so no two workloads share a name; what
// is too long ends in a digest instead.
func Name(namespace, statefulSet string) string {
	n := namespace + "." + statefulSet
	if len(n) <= maxName {
		return n
	}
	sum := sha256.Sum256([]byte(n))
	d := hex.EncodeToString(sum[:8])
	return n[:maxName-len(d)-1] + "-" + d
}

// State is a lease as it was read.
type State struct {
	Name string
	// Exists is false when there is no such Lease (or no namespace): nobody ever held it.
	Exists bool
	// Holder is the holding run's ID; "" when nobody holds it.
	Holder string
	Mode   run.Mode
	Plan   string
	// AcquiredAt and ExpiresAt are zero when nobody holds it. Nothing is freed by ExpiresAt: a lease that outlived its
	// execution belongs to a run that is Dirty or that the janitor has not finished.
	AcquiredAt, ExpiresAt time.Time
	// PreemptedBy is the run that is taking the lease from the holder, since PreemptedAt.
	PreemptedBy string
	PreemptedAt time.Time

	object *coordinationv1.Lease
}

// Holder reads a workload's lease.
func Holder(ctx context.Context, c *cluster.Client, name string) (State, error) {
	l, err := cluster.Get[coordinationv1.Lease](ctx, c, cluster.Leases, Namespace, name)
	if apierrors.IsNotFound(err) {
		return State{Name: name}, nil
	}
	if err != nil {
		return State{}, cluster.Fault("read Lease "+Namespace+"/"+name, err)
	}
	return stateOf(l), nil
}

func stateOf(l *coordinationv1.Lease) State {
	s := State{Name: l.Name, Exists: true, object: l}
	if l.Spec.HolderIdentity != nil {
		s.Holder = *l.Spec.HolderIdentity
	}
	if s.Holder == "" {
		return s
	}
	s.Mode, s.Plan = run.Mode(l.Annotations[AnnotationMode]), l.Annotations[AnnotationPlan]
	if l.Spec.AcquireTime != nil {
		s.AcquiredAt = l.Spec.AcquireTime.UTC()
	}
	if l.Spec.RenewTime != nil && l.Spec.LeaseDurationSeconds != nil {
		s.ExpiresAt = l.Spec.RenewTime.UTC().Add(time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second)
	}
	s.PreemptedBy = l.Annotations[AnnotationPreemptedBy]
	// A mark without a readable time is as old as it can be: its owner marks again.
	s.PreemptedAt, _ = time.Parse(time.RFC3339Nano, l.Annotations[AnnotationPreemptedAt])
	return s
}
