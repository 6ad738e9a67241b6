package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
)

// Claim is a run's wish for a lease.
type Claim struct {
	// Name of the lease, see Name.
	Name string
	Run  string
	Mode run.Mode
	Plan string
	// Now is the run's time.
	Now time.Time
	// Quiesce is how long a mark must stand before the holder counts as quiet: the longest function timeout, or less where
	// the holder's process is proven dead.
	Quiesce time.Duration
}

// Verdict is what one attempt came to.
type Verdict string

const (
	// Held: the run holds the lease.
	Held Verdict = "Held"
	// Busy: another run holds it and is not to be preempted.
	Busy Verdict = "Busy"
	// Waiting: the holder was told to stop; ask again at Until.
	Waiting Verdict = "Waiting"
)

// Attempt is the result of TryAcquire.
type Attempt struct {
	Verdict Verdict
	// State is the lease after the attempt.
	State State
	// Until is when a waiting run may take the lease.
	Until time.Time
}

// swaps is how often a lost compare-and-swap is tried again at once; more means that the lease is fought over, and the
// state machine's own retry with backoff is better.
const swaps = 4

// TryAcquire makes one attempt, which never waits:
//
//	lease                                   | mode recover                  | other modes
//	missing, or no holder                   | Held                          | Held
//	held by this run (a second call)        | Held                          | Held, unless another run marked it: Busy
//	held by a drill, no mark or an old one  | mark it, Waiting              | Busy
//	held by a drill, this run's mark        | Waiting, then Held            | -
//	held by a drill, another recover's mark | Busy                          | Busy
//	held by anything else                   | Busy                          | Busy
func TryAcquire(ctx context.Context, c *cluster.Client, want Claim) (Attempt, error) {
	op := "acquire Lease " + Namespace + "/" + want.Name
	var last error
	for range swaps {
		s, err := Holder(ctx, c, want.Name)
		if err != nil {
			return Attempt{}, err
		}
		a, err := attempt(ctx, c, s, want)
		if err == nil {
			return a, nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return Attempt{}, unsure(op, err)
		}
		last = err
	}
	return Attempt{}, fault.New(fault.Conflict, op, last)
}

// ErrUnsure is in the error of a write whose answer was lost: the run may hold the lease. The next attempt tells.
var ErrUnsure = errors.New("the answer was lost, so the lease may be held")

func unsure(op string, err error) error {
	err = cluster.Fault(op, err)
	if f := fault.From(err); f.Code == fault.Unavailable && !utilnet.IsConnectionRefused(err) {
		return fault.New(f.Code, op, fmt.Errorf("%w: %w", ErrUnsure, f.Err))
	}
	return err
}

func attempt(ctx context.Context, c *cluster.Client, s State, want Claim) (Attempt, error) {
	switch {
	case !s.Exists:
		l, err := create(ctx, c, want)
		return held(l), err
	case s.Holder == "":
		l, err := take(ctx, c, s, want)
		return held(l), err
	case s.Holder == want.Run && (s.PreemptedBy == "" || s.PreemptedBy == want.Run):
		return Attempt{Verdict: Held, State: s}, nil
	case want.Mode != run.Recover || s.Mode != run.Drill:
		return Attempt{Verdict: Busy, State: s}, nil
	}
	switch until := s.PreemptedAt.Add(want.Quiesce); {
	case s.PreemptedBy == want.Run && !want.Now.Before(until):
		l, err := take(ctx, c, s, want)
		return held(l), err
	case s.PreemptedBy == want.Run:
		return Attempt{Verdict: Waiting, State: s, Until: until}, nil
	case s.PreemptedBy != "" && want.Now.Before(s.PreemptedAt.Add(markLife())):
		return Attempt{Verdict: Busy, State: s}, nil
	}
	l := s.object.DeepCopy()
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, AnnotationPreemptedBy, want.Run)
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, AnnotationPreemptedAt, want.Now.UTC().Format(time.RFC3339Nano))
	l, err := swap(ctx, c, l)
	if err != nil {
		return Attempt{}, err
	}
	return Attempt{Verdict: Waiting, State: stateOf(l), Until: want.Now.Add(want.Quiesce)}, nil
}

// markLife is how long a mark keeps other runs out: who marked and has not taken the lease by then has died.
func markLife() time.Duration {
	l, _ := limits.Get(limits.LeaseWait)
	return l.Cap
}

func held(l *coordinationv1.Lease) Attempt {
	if l == nil {
		return Attempt{}
	}
	return Attempt{Verdict: Held, State: stateOf(l)}
}

// occupy writes the run into the lease.
func occupy(l *coordinationv1.Lease, want Claim) {
	now, seconds, transitions := metav1.NewMicroTime(want.Now), int32(limits.LeaseDuration/time.Second), int32(0)
	if l.Spec.LeaseTransitions != nil {
		transitions = *l.Spec.LeaseTransitions + 1
	}
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &want.Run, AcquireTime: &now, RenewTime: &now, LeaseDurationSeconds: &seconds, LeaseTransitions: &transitions}
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, AnnotationMode, string(want.Mode))
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, AnnotationPlan, want.Plan)
	delete(l.Annotations, AnnotationPreemptedBy)
	delete(l.Annotations, AnnotationPreemptedAt)
}

func take(ctx context.Context, c *cluster.Client, s State, want Claim) (*coordinationv1.Lease, error) {
	l := s.object.DeepCopy()
	occupy(l, want)
	return swap(ctx, c, l)
}

// create makes the lease, and its namespace when that is missing too.
func create(ctx context.Context, c *cluster.Client, want Claim) (*coordinationv1.Lease, error) {
	l := &coordinationv1.Lease{TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: want.Name, Labels: map[string]string{change.LabelManagedBy: change.ManagedBy}}}
	occupy(l, want)
	u, err := toUnstructured(l)
	if err != nil {
		return nil, err
	}
	leases := c.Dynamic.Resource(cluster.Leases).Namespace(Namespace)
	o := metav1.CreateOptions{FieldManager: change.FieldManager}
	made, err := leases.Create(ctx, u, o)
	if apierrors.IsNotFound(err) {
		if err := createNamespace(ctx, c); err != nil {
			return nil, err
		}
		made, err = leases.Create(ctx, u, o)
	}
	if err != nil {
		return nil, err
	}
	return cluster.Decode[coordinationv1.Lease](made)
}

func createNamespace(ctx context.Context, c *cluster.Client) error {
	u, err := toUnstructured(&corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: Namespace, Labels: map[string]string{change.LabelManagedBy: change.ManagedBy}}})
	if err != nil {
		return err
	}
	_, err = c.Dynamic.Resource(cluster.Namespaces).Create(ctx, u, metav1.CreateOptions{FieldManager: change.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// swap writes the lease back; its resourceVersion makes the API server refuse it (409) when it changed since it was read.
func swap(ctx context.Context, c *cluster.Client, l *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	u, err := toUnstructured(l)
	if err != nil {
		return nil, err
	}
	u, err = c.Dynamic.Resource(cluster.Leases).Namespace(Namespace).Update(ctx, u, metav1.UpdateOptions{FieldManager: change.FieldManager})
	if err != nil {
		return nil, err
	}
	return cluster.Decode[coordinationv1.Lease](u)
}

func toUnstructured(o any) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: m}, nil
}
