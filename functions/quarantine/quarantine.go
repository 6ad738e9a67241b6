// Package quarantine closes a namespace before anything is put into it, verifies that it is closed, and opens it again (graph
// states IsolateDrill, VerifyDrillIsolation, IsolateWorkload, VerifyIsolation, LiftQuarantine).
package quarantine

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// Handler serves the operations apply, check and lift.
type Handler struct{ Env *step.Env }

// Handle runs one operation.
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Quarantine, error) {
	return step.Ops[run.Quarantine]{"apply": apply, "check": check, "lift": lift}.Serve(ctx, h.Env, "quarantine", op, state, r)
}

// Bounds of the section's lists; the journal and the cluster have the rest.
const (
	listItems = 12
	listRunes = 200
)

// section carries the earlier section on.
func section(s *step.Session) run.Quarantine {
	q := run.Quarantine{}
	if have := s.Run.Quarantine; have != nil {
		q = *have
	}
	q.Namespace, q.Wanted = s.Target(), string(s.Plan.Spec.Quarantine.Level)
	return q
}

func broken(q run.Quarantine, message string, findings []string) run.Quarantine {
	q.Phase, q.Level, q.Message = run.Broken, "", message
	q.Findings = run.Few(findings, listItems, listRunes)
	return q
}

func list(ctx context.Context, s *step.Session) ([]networkingv1.NetworkPolicy, error) {
	ps, err := cluster.List[networkingv1.NetworkPolicy](ctx, s.Cluster, cluster.NetworkPolicies, s.Target(), metav1.ListOptions{})
	return ps, cluster.Fault("list NetworkPolicies in "+s.Target(), err)
}

func encode(o runtime.Object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fault.New(fault.Internal, fmt.Sprintf("encode %T", o), err)
	}
	u := &unstructured.Unstructured{Object: m}
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u, nil
}
