package degraded

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/scheduling"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// standing is one look at the replica.
type standing struct {
	ready bool
	// failed is a fault code when waiting is of no use.
	failed  fault.Code
	message string
}

// await waits until the one replica is ready and the others are gone.
func await(ctx context.Context, s *step.Session) (run.Tier, error) {
	if s.Run.Degraded == nil {
		return run.Tier{}, fault.Newf(fault.Internal, "await the degraded replica", "it was not started")
	}
	out := *s.Run.Degraded
	out.Rounds++
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	began, ns := s.Now(), s.Target()
	var at standing
	sources := []cluster.Source{{GVR: cluster.Pods, Namespace: ns}, {GVR: cluster.StatefulSets, Namespace: ns}, {GVR: cluster.PersistentVolumeClaims, Namespace: ns}}
	// Looked at again without a change when a FailedScheduling may have become persistent.
	again := s.Plan.Spec.Tiers.FailedSchedulingPersistence.D()
	_, err := s.Cluster.WaitFor(slice, again, sources, func(ctx context.Context) (bool, error) {
		var err error
		at, err = look(ctx, s)
		return at.ready || at.failed != "", err
	})
	out.WaitedMS += s.Now().Sub(began).Milliseconds()
	switch {
	case err != nil:
		return out, cluster.Fault("wait for the degraded replica in "+ns, err)
	case at.ready:
		out.Phase, out.Reason, out.Message = run.Succeeded, "", at.message
	case at.failed != "":
		out.Phase, out.Reason, out.Message = run.Failed, string(at.failed), at.message
	case s.Over(out.Deadline):
		out.Phase, out.Reason = run.Failed, string(fault.BudgetExceeded)
		out.Message = fmt.Sprintf("not ready within %s: %s", s.Plan.Spec.Tiers.DegradedStatefulSet.Budget, at.message)
	default:
		out.Phase, out.Message = run.Running, at.message
	}
	out.Message = run.Short(out.Message, 2*listRunes)
	return out, nil
}

func look(ctx context.Context, s *step.Session) (standing, error) {
	f, err := volume.ReadWorkload(ctx, s.Cluster, s.Target(), s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return standing{}, err
	}
	if at, settled := judge(f); settled {
		return at, nil
	}
	first := firstPod(f.Name, f.StatefulSet)
	for _, p := range f.Pods {
		if p.Name != first || p.Spec.NodeName != "" {
			continue
		}
		nodes, err := cluster.List[corev1.Node](ctx, s.Cluster, cluster.Nodes, "", metav1.ListOptions{})
		if err != nil {
			return standing{}, err
		}
		events, err := cluster.List[corev1.Event](ctx, s.Cluster, cluster.Events, s.Target(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + p.Name})
		if err != nil {
			return standing{}, err
		}
		if v := scheduling.Judge([]corev1.Pod{p}, nodes, events, s.Plan.Spec.Tiers.FailedSchedulingPersistence.D(), s.Now()); v.State == scheduling.Impossible {
			return standing{failed: fault.SchedulingImpossible, message: v.String()}, nil
		}
	}
	at, _ := judge(f)
	return at, nil
}

// judge holds the StatefulSet and its pods against what the tier wants. settled means that scheduling need not be asked.
func judge(f *volume.Facts) (at standing, settled bool) {
	switch st := f.StatefulSet; {
	case st == nil || st.DeletionTimestamp != nil:
		return standing{failed: fault.ObjectsMissing, message: fmt.Sprintf("StatefulSet %s/%s is gone", f.Namespace, f.Name)}, true
	case volume.Replicas(st) != 1:
		return standing{failed: fault.OwnerNotPaused, message: fmt.Sprintf("StatefulSet %s wants %d replicas again: somebody scaled it", st.Name, volume.Replicas(st))}, true
	}
	if waits := f.Waiting(); len(waits) > 0 {
		return standing{message: waits[0]}, false
	}
	first := firstPod(f.Name, f.StatefulSet)
	for i := range f.Pods {
		p := &f.Pods[i]
		if p.Name != first {
			return standing{message: fmt.Sprintf("pod %s is still there", p.Name)}, true
		}
		if r := f.StatefulSet.Status.UpdateRevision; r != "" && p.Labels["controller-revision-hash"] != r {
			return standing{message: fmt.Sprintf("pod %s does not have the relaxed template yet", p.Name)}, true
		}
	}
	return standing{ready: true, message: fmt.Sprintf("pod %s is ready", first)}, true
}
