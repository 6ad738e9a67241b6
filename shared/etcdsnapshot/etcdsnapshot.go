// Package etcdsnapshot is the port behind the signal EtcdSnapshotVerified: whether a verified snapshot of the cluster's etcd
// exists. Where nobody can reach etcd the answer is NotApplicable, which is not the same as False.
package etcdsnapshot

import (
	"context"

	"fallbackchain.io/fallback/shared/signal"
)

// Verifier tells whether a verified snapshot of the cluster's etcd exists. It only reads. What it could not read is Unknown,
// never True; it returns no error, because an assessment goes on without it.
type Verifier interface {
	Verify(ctx context.Context, clusterUID string) signal.Signal
}

// Managed is the verifier of clusters whose etcd is hidden: Amazon EKS runs and backs up etcd itself and gives nobody access
// (https://docs.aws.amazon.com/eks/latest/best-practices/control-plane.html). What stands in for it is the inventory.
type Managed struct{}

// Verify answers NotApplicable.
func (Managed) Verify(context.Context, string) signal.Signal {
	return signal.Signal{Status: signal.NotApplicable, Reason: "ManagedEtcd",
		Message: "etcd is managed by the provider and cannot be reached; the verified inventory stands in for a snapshot"}
}
