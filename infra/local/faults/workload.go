package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/cluster"
)

// nowhere is a label that no node has.
const nowhere = "shop.fallbackchain.io/no-such-node"

// failedScheduling has the servers ask for a node that does not exist, and restarts the last one.
func failedScheduling(ctx context.Context, b *breaker) error {
	s, err := b.server(ctx, sample.Replicas-1)
	if err != nil {
		return err
	}
	err = b.patch(ctx, cluster.StatefulSets, sample.Namespace, sample.StatefulSet, map[string]any{"spec": map[string]any{"template": map[string]any{
		"spec": map[string]any{"nodeSelector": map[string]any{nowhere: "true"}}}}})
	if err != nil {
		return err
	}
	b.say("StatefulSet %s/%s now asks for a node with the label %s=true, which none has", sample.Namespace, sample.StatefulSet, nowhere)
	// The rolling update does it too, a moment later.
	if err := b.remove(ctx, cluster.Pods, s.pod.Namespace, s.pod.Name); err != nil {
		return err
	}
	err = b.wait(ctx, "a FailedScheduling of the replacement of "+s.String(), func(ctx context.Context) (bool, error) {
		p, err := b.replacement(ctx, s.pod)
		if p == nil || err != nil {
			return false, err
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
				return b.warned(ctx, p, "FailedScheduling", "")
			}
		}
		return false, nil
	}, cluster.Pods, cluster.Events)
	if err != nil {
		return err
	}
	b.say("%s was restarted and cannot be scheduled", s)
	return nil
}

// objectsDeleted deletes what makes the shop run and leaves its data.
func objectsDeleted(ctx context.Context, b *breaker) error {
	if _, err := b.server(ctx, 0); err != nil {
		return err
	}
	selector := metav1.ListOptions{LabelSelector: sample.AppLabel + "=" + sample.AppName}
	if err := b.remove(ctx, cluster.StatefulSets, sample.Namespace, sample.StatefulSet); err != nil {
		return err
	}
	services, err := cluster.List[corev1.Service](ctx, b.c, cluster.Services, sample.Namespace, selector)
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := b.remove(ctx, cluster.Services, s.Namespace, s.Name); err != nil {
			return err
		}
	}
	maps, err := cluster.List[corev1.ConfigMap](ctx, b.c, cluster.ConfigMaps, sample.Namespace, selector)
	if err != nil {
		return err
	}
	for _, m := range maps {
		if err := b.remove(ctx, cluster.ConfigMaps, m.Namespace, m.Name); err != nil {
			return err
		}
	}
	if err := b.noServers(ctx); err != nil {
		return err
	}
	b.say("StatefulSet %s, %d Services and %d ConfigMaps of namespace %s are deleted; the claims are there", sample.StatefulSet, len(services), len(maps), sample.Namespace)
	return nil
}

// noServers waits until the shop has no pod.
func (b *breaker) noServers(ctx context.Context) error {
	return b.wait(ctx, "the end of the servers", func(ctx context.Context) (bool, error) {
		pods, err := sample.Pods(ctx, b.c, sample.Namespace)
		return len(pods) == 0, err
	}, cluster.Pods)
}

// everythingGone deletes the namespace with its volumes and spoils the inventory. Snapshots stay with the storage system.
func everythingGone(ctx context.Context, b *breaker) error {
	if _, err := b.server(ctx, 0); err != nil {
		return err
	}
	if err := spoil(filepath.Join(b.o.SampleDir, sample.InventoryDir)); err != nil {
		return err
	}
	b.say("a ConfigMap of the inventory was changed by hand, so that it no longer verifies")
	contents, err := b.contents(ctx)
	if err != nil {
		return err
	}
	if contents < sample.Replicas {
		return fmt.Errorf("%d snapshots of the shop exist, expected at least %d before everything is deleted", contents, sample.Replicas)
	}
	if err := sample.Empty(ctx, b.c); err != nil {
		return err
	}
	if err := b.remove(ctx, cluster.Namespaces, "", sample.Namespace); err != nil {
		return err
	}
	err = b.wait(ctx, "the end of the namespace and its volumes", func(ctx context.Context) (bool, error) {
		_, err := b.c.Dynamic.Resource(cluster.Namespaces).Get(ctx, sample.Namespace, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return false, err
		}
		pvs, err := cluster.List[corev1.PersistentVolume](ctx, b.c, cluster.PersistentVolumes, "", metav1.ListOptions{})
		for _, pv := range pvs {
			if pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == sample.Namespace {
				return false, nil
			}
		}
		return true, err
	}, cluster.Namespaces, cluster.PersistentVolumes)
	if err != nil {
		return err
	}
	left, err := b.contents(ctx)
	if err != nil {
		return err
	}
	if left < sample.Replicas {
		return fmt.Errorf("%d snapshots are left, expected at least %d", left, sample.Replicas)
	}
	b.say("namespace %s is gone with its volumes; %d VolumeSnapshotContents are left", sample.Namespace, left)
	return nil
}

// contents counts the VolumeSnapshotContents of the shop.
func (b *breaker) contents(ctx context.Context) (int, error) {
	l, err := b.c.Dynamic.Resource(cluster.VolumeSnapshotContents).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range l.Items {
		if nested(&l.Items[i], "spec", "volumeSnapshotRef", "namespace") == sample.Namespace {
			n++
		}
	}
	return n, nil
}

// spoil changes the shop's ConfigMap in a bundle, as an edit by hand would.
func spoil(bundle string) error {
	es, err := os.ReadDir(bundle)
	if err != nil {
		return fmt.Errorf("the inventory: %w", err)
	}
	for _, e := range es {
		path := filepath.Join(bundle, e.Name())
		if !strings.HasSuffix(e.Name(), ".yaml") {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if text := string(b); strings.Contains(text, "kind: ConfigMap\n") && strings.Contains(text, "currency: EUR\n") {
			return os.WriteFile(path, []byte(strings.Replace(text, "currency: EUR\n", "currency: USD\n", 1)), 0o600)
		}
	}
	return errors.New("the inventory holds no ConfigMap with the shop's currency, expected the one of a deployment")
}

// kept are the orders that bad-data leaves.
const kept = 600

// badData deletes rows on one server, which stays ready.
func badData(ctx context.Context, b *breaker) error {
	pod := sample.Pod(1)
	n, err := sample.Exec(ctx, b.c, sample.Namespace, pod, "DELETE FROM orders WHERE id > $1", kept)
	if err != nil {
		return err
	}
	counts, err := sample.Counts(ctx, b.o.Kubeconfig, sample.Namespace)
	if err != nil {
		return err
	}
	if counts[pod] > kept {
		return fmt.Errorf("pod %s still holds %d orders, expected at most %d", pod, counts[pod], kept)
	}
	b.say("%d orders of pod %s/%s are deleted, %d are left; the pod is ready", n, sample.Namespace, pod, counts[pod])
	return nil
}
