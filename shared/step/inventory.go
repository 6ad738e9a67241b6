package step

import (
	"context"
	"errors"
	"io/fs"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/signal"
)

// VerifiedInventory opens the plan's inventory and verifies it against the cluster that answers now: digests, identity, age,
// Kubernetes minor. A Velero backup is exactly the one that the run has chosen. The bundle is nil when it could not be opened, or
// when the plan names none (NotApplicable); the caller closes one that is not, and uses it only when the result's status is True.
// An error is the API server's: a fault.
func (s *Session) VerifiedInventory(ctx context.Context) (*inventory.Bundle, inventory.Result, error) {
	spec := s.Plan.Spec.Inventory
	switch {
	case spec == nil:
		return nil, inventory.Result{Status: signal.NotApplicable, Reason: "NoInventory", Message: "the plan names no inventory"}, nil
	case spec.Velero != nil:
		return s.verifiedBackup(ctx)
	case s.env.Inventory == nil:
		return nil, inventory.Result{Status: signal.Unknown, Reason: inventory.ReasonUnreadable, Message: "this process cannot open inventories"}, nil
	}
	target, err := s.inventoryTarget(ctx)
	if err != nil {
		return nil, inventory.Result{}, err
	}
	b, err := s.env.Inventory(ctx, s.Run.Plan, s.Plan)
	if err != nil {
		return nil, notOpened(err), nil
	}
	return b, b.Verify(ctx, s.Now(), target, spec.MaxAge.D()), nil
}

// inventoryTarget is the cluster and workload that an inventory must belong to.
func (s *Session) inventoryTarget(ctx context.Context) (inventory.Target, error) {
	target := inventory.Target{Namespace: s.Plan.Spec.Workload.Namespace, StatefulSet: s.Plan.Spec.Workload.StatefulSet}
	ns, err := cluster.Get[corev1.Namespace](ctx, s.Cluster, cluster.Namespaces, "", metav1.NamespaceSystem)
	if err != nil {
		return target, cluster.Fault("read the cluster's identity (namespace kube-system)", err)
	}
	target.ClusterUID = string(ns.UID)
	v, err := s.Cluster.Version(ctx)
	if err != nil {
		return target, cluster.Fault("read the cluster's version", err)
	}
	target.KubernetesVersion = v.GitVersion
	return target, nil
}

// notOpened is the verdict on a bundle that could not be opened: one that is not there or has no readable manifest is wrong,
// one that could not be reached is unknown.
func notOpened(err error) inventory.Result {
	r := inventory.Result{Status: signal.False, Reason: inventory.ReasonMalformed, Message: err.Error()}
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Reason = inventory.ReasonMissing
	case errors.As(err, &path), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		r.Status, r.Reason = signal.Unknown, inventory.ReasonUnreadable
	}
	return r
}
