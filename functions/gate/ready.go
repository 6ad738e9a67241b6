package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// listed is how many pods a message names.
const listed = 5

// ready waits until every pod that the StatefulSet itself asks for is ready and has been so for the plan's stability window:
// the same pods by UID, no restart, no change of readiness.
func (h *Handler) ready(ctx context.Context, s *step.Session, out run.Gate) (run.Gate, error) {
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	ns, name := s.Target(), s.Plan.Spec.Workload.StatefulSet
	sources := []cluster.Source{
		{GVR: cluster.StatefulSets, Namespace: ns, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + name}},
		{GVR: cluster.Pods, Namespace: ns},
	}
	for ready := false; ; {
		before, began := out.Stable, time.Now()
		window, stop := windowEnd(slice, s, out)
		_, err := s.Cluster.WaitFor(window, 0, sources, func(ctx context.Context) (bool, error) {
			f, err := volume.ReadWorkload(ctx, s.Cluster, ns, name)
			if err != nil {
				return false, err
			}
			waiting := f.Waiting()
			observe(&out, f, waiting, s.Now())
			out.Message = notReady(waiting, s)
			ready = stable(out, s)
			// Pods that became ready, or are others now, change when the window ends.
			return ready || out.Stable != before, nil
		})
		stop()
		out.WaitedMS += time.Since(began).Milliseconds()
		switch {
		case err != nil:
			return out, cluster.Fault("read the pods of StatefulSet "+ns+"/"+name, err)
		case ready:
			out.Phase, out.Reason, out.Message, out.ReadyMS = run.Ready, "", "", readyMS(s, out)
			return out, nil
		case s.Over(out.Deadline):
			out.Phase, out.Reason = run.NotReady, string(fault.BudgetExceeded)
			return out, nil
		case slice.Err() != nil:
			out.Phase = run.Running
			return out, nil
		}
	}
}

// windowEnd bounds a wait by the end of the stability window, when one has begun and is not over.
func windowEnd(ctx context.Context, s *step.Session, out run.Gate) (context.Context, context.CancelFunc) {
	if out.StableSince != nil {
		if d := stableAt(out, s).Sub(s.Now()); d > 0 {
			return context.WithTimeout(ctx, d)
		}
	}
	return ctx, func() {}
}

// observe keeps what is being watched for stability, and since when.
func observe(out *run.Gate, f *volume.Facts, waiting []string, now time.Time) {
	if len(waiting) > 0 {
		out.Stable, out.StableSince = "", nil
		return
	}
	if p := fingerprint(f); p != out.Stable {
		t := now.UTC()
		out.Stable, out.StableSince = p, &t
	}
}

func stableAt(out run.Gate, s *step.Session) time.Time {
	return out.StableSince.Add(s.Plan.Spec.Gate.Stability.D())
}

func stable(out run.Gate, s *step.Session) bool {
	return out.StableSince != nil && !s.Now().Before(stableAt(out, s))
}

// fingerprint is the same as long as the same pods, by UID, have neither restarted a container nor lost their readiness in
// between (a condition's lastTransitionTime tells even when nobody watched).
func fingerprint(f *volume.Facts) string {
	var lines []string
	wanted := podNames(f)
	for _, p := range f.Pods {
		if !slices.Contains(wanted, p.Name) {
			continue // left over from a scale-down
		}
		restarts := int32(0)
		for _, cs := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for _, c := range cs {
				restarts += c.RestartCount
			}
		}
		since := ""
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady {
				since = c.LastTransitionTime.UTC().Format(time.RFC3339)
			}
		}
		lines = append(lines, fmt.Sprintf("%s %s %d %s", p.Name, p.UID, restarts, since))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:8])
}

// readyMS is how long the gate waited for readiness, from its first call to the start of the window that held.
func readyMS(s *step.Session, out run.Gate) int64 {
	start := out.Deadline.Add(-s.Plan.Spec.Gate.Budget.D())
	return max(out.StableSince.Sub(start), 0).Milliseconds()
}

func notReady(waiting []string, s *step.Session) string {
	if len(waiting) == 0 {
		return fmt.Sprintf("the pods are ready and have not been stable for %s yet", s.Plan.Spec.Gate.Stability)
	}
	more := ""
	if n := len(waiting) - listed; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(waiting[:min(len(waiting), listed)], "; ") + more
}
