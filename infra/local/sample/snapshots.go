package sample

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
)

// Claim is the name of a server's claim, by ordinal.
func Claim(i int) string { return fmt.Sprintf("data-%s-%d", StatefulSet, i) }

// Pod is the name of a server's pod, by ordinal.
func Pod(i int) string { return fmt.Sprintf("%s-%d", StatefulSet, i) }

// Snapshot is the name of the snapshot of a server's claim, by ordinal.
func Snapshot(i int) string { return Claim(i) + "-" + SnapshotValue }

// snapshotAll takes a snapshot of each claim, once, and waits until all can be restored.
func snapshotAll(ctx context.Context, c *cluster.Client) error {
	for i := range Replicas {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
			"metadata": map[string]any{"name": Snapshot(i), "namespace": Namespace, "labels": map[string]any{AppLabel: AppName, SnapshotLabel: SnapshotValue}},
			"spec": map[string]any{"volumeSnapshotClassName": stack.SnapshotClass,
				"source": map[string]any{"persistentVolumeClaimName": Claim(i)}},
		}}
		if err := apply(ctx, c, u); err != nil {
			return err
		}
	}
	lacks := ""
	ok, err := c.WaitFor(ctx, again, []cluster.Source{{GVR: cluster.VolumeSnapshots, Namespace: Namespace}}, func(ctx context.Context) (bool, error) {
		for i := range Replicas {
			u, err := c.Dynamic.Resource(cluster.VolumeSnapshots).Namespace(Namespace).Get(ctx, Snapshot(i), metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			if ready, _, _ := unstructured.NestedBool(u.Object, "status", "readyToUse"); !ready {
				msg, _, _ := unstructured.NestedString(u.Object, "status", "error", "message")
				lacks = fmt.Sprintf("VolumeSnapshot %s/%s is not ready to use %s", Namespace, Snapshot(i), msg)
				return false, nil
			}
		}
		return true, nil
	})
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", lacks, context.Cause(ctx))
	}
	return err
}
