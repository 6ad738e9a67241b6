package restore

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// await waits until the restored claims are bound and every pod of the StatefulSet is ready.
func await(ctx context.Context, s *step.Session) (run.Restore, error) {
	if s.Run.Restore == nil {
		return run.Restore{}, fault.Newf(fault.Internal, "await the restore", "it was not started")
	}
	out := *s.Run.Restore
	out.Rounds++
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	began := s.Now()
	var waits []string
	ns := out.Namespace
	sources := []cluster.Source{{GVR: cluster.Pods, Namespace: ns}, {GVR: cluster.PersistentVolumeClaims, Namespace: ns}, {GVR: cluster.StatefulSets, Namespace: ns}}
	ok, err := s.Cluster.WaitFor(slice, 0, sources, func(ctx context.Context) (bool, error) {
		var err error
		if waits, err = pending(ctx, s, out); err != nil {
			waits = []string{err.Error()}
		}
		return err == nil && len(waits) == 0, err
	})
	out.WaitedMS += s.Now().Sub(began).Milliseconds()
	switch {
	case err != nil:
		return out, cluster.Fault("wait for the restore into "+ns, err)
	case ok:
		out.Phase, out.Reason = run.Succeeded, ""
		out.Message = "the StatefulSet's claims are bound and its pods are ready"
	case s.Over(out.Deadline):
		out.Phase, out.Reason = run.Failed, string(fault.BudgetExceeded)
		out.Message = fmt.Sprintf("not restored within %s: %s", s.Plan.Spec.Drill.RestoreBudget, few(waits))
	default:
		out.Phase, out.Message = run.Running, few(waits)
	}
	return out, nil
}

// pending lists what is still waited for.
func pending(ctx context.Context, s *step.Session, out run.Restore) ([]string, error) {
	var waits []string
	claims, err := cluster.List[corev1.PersistentVolumeClaim](ctx, s.Cluster, cluster.PersistentVolumeClaims, out.Namespace, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	phase := map[string]corev1.PersistentVolumeClaimPhase{}
	for _, c := range claims {
		phase[c.Name] = c.Status.Phase
	}
	f, err := volume.ReadWorkload(ctx, s.Cluster, out.Namespace, s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return nil, err
	}
	if f.StatefulSet == nil {
		return nil, fault.Newf(fault.ObjectsMissing, "wait for the restore", "StatefulSet %s/%s is gone", out.Namespace, s.Plan.Spec.Workload.StatefulSet)
	}
	used := volume.ClaimNames(f.StatefulSet)
	for _, c := range used {
		if phase[c] != corev1.ClaimBound {
			waits = append(waits, fmt.Sprintf("claim %s is %s", c, orNot(string(phase[c]))))
		}
	}
	return append(waits, f.Waiting()...), nil
}

func orNot(phase string) string {
	if phase == "" {
		return "not there"
	}
	return phase
}

func few(list []string) string {
	const most = 3
	text := ""
	for i, l := range run.Few(list, most, listRunes) {
		if i > 0 {
			text += "; "
		}
		text += l
	}
	if text == "" {
		return "nothing was read"
	}
	return text
}
