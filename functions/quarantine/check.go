package quarantine

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/quarantine"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// check verifies the quarantine at the plan's level. Everything is read back: what apply said is not believed.
func check(ctx context.Context, s *step.Session) (run.Quarantine, error) {
	q := section(s)
	q.Rounds++
	findings, err := applied(ctx, s)
	if err != nil {
		return q, err
	}
	opens, unjudged, err := otherPolicies(ctx, s)
	if err != nil {
		return q, err
	}
	findings = append(findings, opens...)
	if s.Plan.Spec.Quarantine.Level != plan.LevelEnforced {
		// Without a probe nothing tells what they let through.
		findings = append(findings, unjudged...)
	}
	if len(findings) > 0 {
		return broken(q, "the namespace is not closed", findings), nil
	}
	q.Findings = run.Few(unjudged, listItems, listRunes)
	if s.Plan.Spec.Quarantine.Level == plan.LevelApplied {
		q.Phase, q.Level = run.Verified, string(plan.LevelApplied)
		q.Message = "every policy was read back and their union opens nothing; whether the network enforces them is unproven"
		return q, nil
	}
	return enforced(ctx, s, q)
}

// applied reads the policies and pods of the namespace and lists everything that keeps it from being closed.
func applied(ctx context.Context, s *step.Session) ([]string, error) {
	ns := s.Target()
	have, err := list(ctx, s)
	if err != nil {
		return nil, err
	}
	pods, err := cluster.List[corev1.Pod](ctx, s.Cluster, cluster.Pods, ns, metav1.ListOptions{})
	if err != nil {
		return nil, cluster.Fault("list pods in "+ns, err)
	}
	wanted := quarantine.Policies(ns, s.Run.ID, s.Plan.Spec.Quarantine.Peers)
	findings := missing(wanted, have, s.Run.ID)
	if d := quarantine.Isolates(have); !slices.Contains(d, quarantine.Ingress) || !slices.Contains(d, quarantine.Egress) {
		findings = append(findings, fmt.Sprintf("the policies isolate every pod in %v, expected egress and ingress", d))
	}
	for _, o := range quarantine.Openings(ns, have, s.Plan.Spec.Quarantine.Peers) {
		findings = append(findings, o.String())
	}
	for _, p := range quarantine.HostPods(pods) {
		findings = append(findings, fmt.Sprintf("pod %s uses its node's network, which no NetworkPolicy holds", p))
	}
	return findings, nil
}

// missing lists which of the wanted policies are not there as they were made.
func missing(wanted, have []networkingv1.NetworkPolicy, runID string) []string {
	var out []string
	for _, w := range wanted {
		i := slices.IndexFunc(have, func(p networkingv1.NetworkPolicy) bool { return p.Name == w.Name })
		switch {
		case i < 0:
			out = append(out, "NetworkPolicy "+w.Name+" does not exist")
		case have[i].Labels[change.LabelRun] != runID:
			out = append(out, "NetworkPolicy "+w.Name+" is not this run's")
		case have[i].DeletionTimestamp != nil:
			out = append(out, "NetworkPolicy "+w.Name+" is being deleted")
		case !equality.Semantic.DeepEqual(have[i].Spec, w.Spec):
			out = append(out, "NetworkPolicy "+w.Name+" was changed")
		}
	}
	return out
}

// enforced lets a pod inside try to get out, and judges what it says when it has ended.
func enforced(ctx context.Context, s *step.Session, q run.Quarantine) (run.Quarantine, error) {
	spec := s.Plan.Spec.Quarantine
	if spec.ProbeImage == "" || len(spec.Probes) == 0 {
		return broken(q, "enforcement cannot be proved", []string{"spec.quarantine.level Enforced needs probeImage and probes"}), nil
	}
	pod, err := quarantine.Probe(q.Namespace, s.Run.ID, spec.ProbeImage, spec.Probes)
	if err != nil {
		return broken(q, "enforcement cannot be proved", []string{err.Error()}), nil
	}
	u, err := encode(pod)
	if err != nil {
		return q, err
	}
	ch := s.Changer()
	if _, err := ch.Create(ctx, u, "probe from inside whether the quarantine is enforced"); err != nil {
		return q, err
	}
	slice, cancel := s.Slice(ctx, q.Deadline)
	defer cancel()
	var got quarantine.ProbeVerdict
	var seen *corev1.Pod
	began := s.Now()
	source := cluster.Source{GVR: cluster.Pods, Namespace: q.Namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name}}
	ended, err := s.Cluster.WaitFor(slice, 0, []cluster.Source{source}, func(ctx context.Context) (bool, error) {
		p, err := cluster.Get[corev1.Pod](ctx, s.Cluster, cluster.Pods, q.Namespace, pod.Name)
		if apierrors.IsNotFound(err) {
			got = quarantine.ProbeVerdict{Ended: true, Findings: []string{"the probe pod is gone before it ended"}}
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if p.Labels[change.LabelRun] != s.Run.ID {
			got = quarantine.ProbeVerdict{Ended: true, Findings: []string{"pod " + p.Name + " is not this run's probe"}}
			return true, nil
		}
		seen, got = p, quarantine.ReadProbe(p, spec.Probes)
		return got.Ended, nil
	})
	q.WaitedMS += s.Now().Sub(began).Milliseconds()
	if err != nil {
		return q, cluster.Fault("wait for the probe pod "+pod.Name, err)
	}
	if !ended && !s.Over(q.Deadline) {
		q.Phase, q.Message = run.Running, "the probe has not ended yet"
		return q, nil
	}
	if !ended {
		got.Findings = []string{fmt.Sprintf("the probe did not end within %s: %s", spec.Budget, standing(seen))}
	}
	if seen != nil {
		ref := change.Ref{GVR: cluster.Pods, Kind: "Pod", Namespace: seen.Namespace, Name: seen.Name, UID: seen.UID}
		if err := ch.Delete(ctx, ref, change.DeleteOptions{Undo: journal.UndoNothing}, "the probe has ended"); err != nil {
			return q, err
		}
	}
	if !got.Enforced {
		return broken(q, "enforcement is not proved", got.Findings), nil
	}
	q.Phase, q.Level = run.Verified, string(plan.LevelEnforced)
	q.Message = fmt.Sprintf("a pod inside reached none of %d addresses while DNS answered", len(spec.Probes))
	return q, nil
}

// standing says where a pod is that has not ended.
func standing(p *corev1.Pod) string {
	if p == nil {
		return "it was never seen"
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			return w.Reason + " " + w.Message
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Status != corev1.ConditionTrue && c.Message != "" {
			return c.Message
		}
	}
	return "it is " + string(p.Status.Phase)
}
