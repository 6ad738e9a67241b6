package lease

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
)

// Clear takes the run out of the lease: its holder is cleared when it is the run, and the run's mark when it was about to
// preempt another. What another run holds is left alone. It returns the lease as it then stands; clearing twice, or a lease
// that does not exist, is no error. It releases the lease of a run that ends, and that of a Dirty run when it is resolved.
func Clear(ctx context.Context, c *cluster.Client, name, runID string) (State, error) {
	op := "release Lease " + Namespace + "/" + name
	var last error
	for range swaps {
		s, err := Holder(ctx, c, name)
		if err != nil {
			return State{}, err
		}
		if !s.Exists || (s.Holder != runID && s.PreemptedBy != runID) {
			return s, nil
		}
		l := s.object.DeepCopy()
		if s.Holder == runID {
			l.Spec.HolderIdentity, l.Spec.AcquireTime, l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = nil, nil, nil, nil
			delete(l.Annotations, AnnotationMode)
			delete(l.Annotations, AnnotationPlan)
		}
		// A mark goes with the holder it was meant for: who set it watches the lease and takes it as soon as it is free.
		delete(l.Annotations, AnnotationPreemptedBy)
		delete(l.Annotations, AnnotationPreemptedAt)
		l, err = swap(ctx, c, l)
		if err == nil {
			return stateOf(l), nil
		}
		if !apierrors.IsConflict(err) {
			return State{}, cluster.Fault(op, err)
		}
		last = err
	}
	return State{}, fault.New(fault.Conflict, op, last)
}
