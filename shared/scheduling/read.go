package scheduling

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/volume"
)

// Read judges the workload's pods, and reads nodes and events only when one of them waits for a node.
func Read(ctx context.Context, c *cluster.Client, f *volume.Facts, persistence time.Duration, now time.Time) (Verdict, error) {
	if !slices.ContainsFunc(f.Pods, func(p corev1.Pod) bool { return p.Spec.NodeName == "" && p.DeletionTimestamp == nil }) {
		return Verdict{State: Scheduled}, nil
	}
	nodes := f.Nodes
	if nodes == nil {
		var err error
		if nodes, err = cluster.List[corev1.Node](ctx, c, cluster.Nodes, "", metav1.ListOptions{}); err != nil {
			return Verdict{}, cluster.Fault("list nodes", err)
		}
	}
	events, err := cluster.List[corev1.Event](ctx, c, cluster.Events, f.Namespace, metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod"})
	if err != nil {
		return Verdict{}, cluster.Fault("list the events of namespace "+f.Namespace, err)
	}
	return Judge(f.Pods, nodes, events, persistence, now), nil
}
