// Package rollbackpoint captures, before the first change, what must be known to undo all of them: replicas, policies, claims,
// owners that must be paused, and a snapshot of each claim. In recover it may take those snapshots; in a drill it only reads,
// and digests the resourceVersions of production for the proof that it was left alone.
package rollbackpoint

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/owners"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// Handler serves the operation capture.
type Handler struct {
	Env *step.Env
	// FreshWait is how long fresh snapshots are waited for where every claim has an older ready one to fall back on; DefaultFreshWait
	// when 0. Without an older one they are waited for until the operation's deadline.
	FreshWait time.Duration
}

// DefaultFreshWait keeps a storage driver that is down (which is what may have to be mended) from holding up the recovery.
const DefaultFreshWait = time.Minute

// Handle captures the rollback point. Phase Running: fresh snapshots are not ready yet.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.RollbackPoint, error) {
	if op != "capture" {
		return run.RollbackPoint{}, fault.Newf(fault.Internal, "rollbackpoint", "operation %q: expected capture", op)
	}
	s, err := h.Env.Open(ctx, state, r)
	if err != nil {
		return run.RollbackPoint{}, err
	}
	out := run.RollbackPoint{}
	if r.RollbackPoint != nil {
		out.Waiting = r.RollbackPoint.Waiting
	}
	out.Rounds++
	if out.Deadline == nil {
		l, _ := limits.Get(limits.RollbackPointWait)
		out.Deadline = s.Deadline(plan.Duration(l.Cap))
	}
	w := s.Plan.Spec.Workload
	facts, err := volume.Read(ctx, s.Cluster, w.Namespace, w.StatefulSet)
	if err != nil {
		return out, err
	}
	if err := h.objects(ctx, s, facts, &out); err != nil {
		return out, err
	}
	if r.Mode == run.Drill {
		v, err := production.Read(ctx, s.Cluster, w.Namespace)
		if err != nil {
			return out, err
		}
		out.ProductionDigest, out.ProductionCount = v.Digest(), len(v)
	}
	return h.snapshots(ctx, s, facts, out)
}

// objects records what the StatefulSet, its claims and its owners are.
func (h *Handler) objects(ctx context.Context, s *step.Session, f *volume.Facts, out *run.RollbackPoint) error {
	out.Claims = claimPoints(f)
	if f.StatefulSet == nil {
		return nil
	}
	replicas := volume.Replicas(f.StatefulSet)
	out.Replicas = &replicas
	out.WhenDeleted, out.WhenScaled = retention(f)
	hpas, err := cluster.List[autoscalingv2.HorizontalPodAutoscaler](ctx, s.Cluster, cluster.HPAs, f.Namespace, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return cluster.Fault("list HorizontalPodAutoscalers in namespace "+f.Namespace, err)
	}
	out.Owners = owners.Of(f.StatefulSet, hpas)
	return nil
}

// retention is the StatefulSet's persistentVolumeClaimRetentionPolicy; the API's default is Retain for both
// (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention).
func retention(f *volume.Facts) (whenDeleted, whenScaled string) {
	p := f.StatefulSet.Spec.PersistentVolumeClaimRetentionPolicy
	if p == nil {
		return "Retain", "Retain"
	}
	return string(p.WhenDeleted), string(p.WhenScaled)
}

// claimPoints describes the claims that exist, and those that should or that a volume is still reserved for (without UID).
func claimPoints(f *volume.Facts) []run.ClaimPoint {
	var out []run.ClaimPoint
	seen := map[string]bool{}
	for i := range f.Claims {
		c := &f.Claims[i]
		class, _ := volume.ClassName(c)
		size := c.Spec.Resources.Requests[corev1.ResourceStorage]
		p := run.ClaimPoint{Name: c.Name, UID: string(c.UID), Volume: c.Spec.VolumeName, StorageClass: class, Size: size.String()}
		if v := f.Volume(c.Spec.VolumeName); v != nil {
			p.ReclaimPolicy = string(v.Spec.PersistentVolumeReclaimPolicy)
		}
		seen[c.Name] = true
		out = append(out, p)
	}
	for i := range f.Volumes {
		v := &f.Volumes[i]
		if name := v.Spec.ClaimRef.Name; !seen[name] {
			seen[name] = true
			size := v.Spec.Capacity[corev1.ResourceStorage]
			out = append(out, run.ClaimPoint{Name: name, Volume: v.Name, StorageClass: v.Spec.StorageClassName, Size: size.String(),
				ReclaimPolicy: string(v.Spec.PersistentVolumeReclaimPolicy)})
		}
	}
	for _, name := range volume.ClaimNames(f.StatefulSet) {
		if !seen[name] {
			seen[name] = true
			out = append(out, run.ClaimPoint{Name: name})
		}
	}
	return out
}

// snapshots finds a snapshot of each claim and, where the plan wants fresh ones, takes them and waits until they are ready.
func (h *Handler) snapshots(ctx context.Context, s *step.Session, f *volume.Facts, out run.RollbackPoint) (run.RollbackPoint, error) {
	if s.RestoredByVelero() {
		// The data comes from the backup, and what the drill makes of it goes with its namespace: no snapshot of production is needed.
		out.Phase = run.Captured
		return bounded(ctx, s, out)
	}
	have, err := existing(ctx, s, f, out.Claims)
	if err != nil {
		return out, err
	}
	var notes []string
	if s.Run.Mode == run.Recover && s.Plan.Spec.Rollback.Snapshots.Source == plan.SnapshotsFresh {
		notes, err = h.fresh(ctx, s, f, have, &out)
		if err != nil || out.Phase != "" {
			return first(out), err
		}
	}
	var without, missing []string
	for _, c := range out.Claims {
		if c.UID == "" {
			missing = append(missing, c.Name)
		}
		if snap, ok := have[c.Name]; ok {
			out.Snapshots = append(out.Snapshots, snap)
		} else {
			without = append(without, c.Name)
		}
	}
	if f.StatefulSet == nil {
		notes = append(notes, fmt.Sprintf("StatefulSet %s/%s does not exist", f.Namespace, f.Name))
	}
	if len(missing) > 0 {
		notes = append(notes, "claims that do not exist: "+named(missing))
	}
	if len(without) > 0 {
		notes = append(notes, "claims without a snapshot, whose data could not be put back: "+named(without))
	}
	out.Phase, out.Message = run.Captured, strings.Join(notes, "; ")
	return bounded(ctx, s, out)
}

// fresh takes snapshots and replaces the older ones in have by them. It leaves out.Phase empty when the capture can go on.
func (h *Handler) fresh(ctx context.Context, s *step.Session, f *volume.Facts, have map[string]run.Snapshot, out *run.RollbackPoint) ([]string, error) {
	t := taker{session: s, facts: f}
	claims := bound(f)
	if err := t.take(ctx, claims); err != nil {
		// A cluster without the snapshot API, or whose driver has none, cannot be made to have one by waiting.
		var fl *fault.Fault
		if !errors.As(err, &fl) || fl.Class() != fault.Demote {
			return nil, err
		}
		if none := without(claims, have); len(none) > 0 {
			out.Phase, out.Reason = run.Failed, "SnapshotNotTaken"
			out.Message = fmt.Sprintf("no snapshot could be taken of %s, and there is no older one: %v", named(none), fl)
			return nil, nil
		}
		return []string{fmt.Sprintf("fresh snapshots could not be taken (%v): older ones stand in", fl)}, nil
	}
	if s.Run.DryRun {
		return []string{"dry run: fresh snapshots were not taken"}, nil
	}
	limit := *out.Deadline
	if len(without(claims, have)) == 0 {
		l, _ := limits.Get(limits.RollbackPointWait)
		limit = limit.Add(-l.Cap).Add(h.freshWait())
	}
	slice, cancel := s.Slice(ctx, &limit)
	defer cancel()
	began := time.Now()
	pending, err := t.await(ctx, slice, claims, have)
	out.WaitedMS += time.Since(began).Milliseconds()
	switch {
	case err != nil:
		return nil, err
	case len(pending) == 0:
		return nil, nil
	case !s.Over(&limit):
		out.Phase, out.Message = run.Running, "waiting for the snapshots of "+names(pending)
		return nil, nil
	}
	if none := without(pending, have); len(none) > 0 {
		out.Phase, out.Reason = run.Failed, string(fault.BudgetExceeded)
		out.Message = fmt.Sprintf("the snapshots of %s did not become ready, and there is no older one", names(pending))
		return nil, nil
	}
	// An unfinished snapshot would hold its claim with a finalizer.
	if err := t.drop(ctx, pending); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("the fresh snapshots of %s were not ready after %s: older ones stand in", names(pending), h.freshWait())}, nil
}

func (h *Handler) freshWait() time.Duration {
	if h.FreshWait == 0 {
		return DefaultFreshWait
	}
	return h.FreshWait
}
