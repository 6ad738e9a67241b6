package quarantine

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/quarantine"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// apply closes the target namespace. In a drill the namespace is made first, empty, and nothing but policies is put in before it
// was verified. There is no ResourceQuota: a quota refuses pods that name no requests and would make a drill fail where
// production runs. In a recover the namespace is the workload's own, and policies that allow more than the quarantine are
// suspended: deleted under the journal, put back by lift or by the rollback.
func apply(ctx context.Context, s *step.Session) (run.Quarantine, error) {
	q := section(s)
	q.Waiting = run.Waiting{Deadline: s.Deadline(s.Plan.Spec.Quarantine.Budget)}
	q.Level, q.Findings = "", nil
	if l := s.Plan.Spec.Quarantine.Level; l != plan.LevelApplied && l != plan.LevelEnforced {
		return q, fault.Newf(fault.PlanInvalid, "apply the quarantine", "spec.quarantine.level is %q, expected Applied or Enforced", l)
	}
	ch := s.Changer()
	if err := ensureNamespace(ctx, s, ch); err != nil {
		return q, err
	}
	wanted := quarantine.Policies(q.Namespace, s.Run.ID, s.Plan.Spec.Quarantine.Peers)
	for _, p := range wanted {
		u, err := encode(&p)
		if err != nil {
			return q, err
		}
		if _, err := ch.Create(ctx, u, "close namespace "+q.Namespace); err != nil {
			return q, err
		}
	}
	q.Policies = run.Few(quarantine.Names(wanted), listItems, listRunes)
	suspended, err := suspend(ctx, s, ch)
	if err != nil {
		return q, err
	}
	q.Phase = run.Applied
	q.Message = fmt.Sprintf("%d policies close namespace %s in both directions", len(wanted), q.Namespace)
	if len(suspended) > 0 {
		q.Message += fmt.Sprintf("; %d that open more are suspended", len(suspended))
		q.Findings = run.Few(suspended, listItems, listRunes)
	}
	return q, nil
}

// suspend deletes the policies of others that let more through than the quarantine.
func suspend(ctx context.Context, s *step.Session, ch *change.Changer) ([]string, error) {
	have, err := list(ctx, s)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range have {
		opens := quarantine.Openings(p.Namespace, []networkingv1.NetworkPolicy{p}, s.Plan.Spec.Quarantine.Peers)
		if len(opens) == 0 {
			continue
		}
		ref := change.Ref{GVR: cluster.NetworkPolicies, Kind: "NetworkPolicy", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		if err := ch.Delete(ctx, ref, change.DeleteOptions{}, "suspend: "+opens[0].String()); err != nil {
			return out, err
		}
		out = append(out, "suspended: "+opens[0].String())
	}
	return out, nil
}

// Labels by which pods are admitted to a namespace (https://kubernetes.io/docs/concepts/security/pod-security-admission/).
const (
	enforceLabel   = "pod-security.kubernetes.io/enforce"
	enforceVersion = "pod-security.kubernetes.io/enforce-version"
)

// ensureNamespace makes the namespace when it does not exist. A drill's enforces at least the baseline pod security: what baseline
// forbids (host network, host paths, privilege) is what leaves a quarantine. Where production enforces restricted, so does the drill.
func ensureNamespace(ctx context.Context, s *step.Session, ch *change.Changer) error {
	name := s.Target()
	ns := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	why := "the workload's namespace is gone"
	if s.Run.Mode == run.Drill {
		why = "the drill's namespace"
		ns.Labels = map[string]string{enforceLabel: "baseline"}
		source, err := cluster.Get[corev1.Namespace](ctx, s.Cluster, cluster.Namespaces, "", s.Plan.Spec.Workload.Namespace)
		if err != nil && !apierrors.IsNotFound(err) {
			return cluster.Fault("read namespace "+s.Plan.Spec.Workload.Namespace, err)
		}
		if err == nil && source.Labels[enforceLabel] == "restricted" {
			ns.Labels[enforceLabel] = "restricted"
			if v := source.Labels[enforceVersion]; v != "" {
				ns.Labels[enforceVersion] = v
			}
		}
	} else {
		have, err := cluster.Get[corev1.Namespace](ctx, s.Cluster, cluster.Namespaces, "", name)
		switch {
		case err == nil && have.DeletionTimestamp != nil:
			return fault.Newf(fault.IsolationBroken, "isolate namespace "+name, "it is being deleted")
		case err == nil:
			return nil
		case !apierrors.IsNotFound(err):
			return cluster.Fault("read namespace "+name, err)
		}
	}
	u, err := encode(ns)
	if err != nil {
		return err
	}
	_, err = ch.Create(ctx, u, why)
	return err
}
