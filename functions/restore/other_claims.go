package restore

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/volume"
)

// withoutData marks claims whose data the restore does not bring back: nobody waits for them.
const withoutData = "fallbackchain.io/without-data"

func markWithoutData(c *corev1.PersistentVolumeClaim, runID string) {
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[withoutData] = runID
}

// otherClaims lists what is waited for of the claims that this run restored with their data beside those of the StatefulSet. A claim whose class
// waits for its first consumer is bound when a pod mounts it, and otherwise never
// (https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode).
func (w *awaited) otherClaims(ctx context.Context, claims []corev1.PersistentVolumeClaim, own []string) (waits []string, err error) {
	var mounted map[string]bool
	for i := range claims {
		c := &claims[i]
		if c.Status.Phase == corev1.ClaimBound || c.Labels[change.LabelRun] != w.s.Run.ID || c.Annotations[withoutData] != "" || slices.Contains(own, c.Name) {
			continue
		}
		why := ""
		class, name, err := w.classOf(ctx, c)
		switch {
		case err != nil:
			return nil, err
		case class == nil:
			why = fmt.Sprintf(": storage class %q does not exist in the cluster", name)
		case volume.WaitsForConsumer(class):
			if mounted == nil {
				if mounted, err = w.mounted(ctx); err != nil {
					return nil, err
				}
			}
			if !mounted[c.Name] {
				continue
			}
		}
		waits = append(waits, fmt.Sprintf("claim %s is %s%s", c.Name, orNot(string(c.Status.Phase)), why))
	}
	return waits, nil
}

// classOf reads the cluster's classes once a call.
func (w *awaited) classOf(ctx context.Context, c *corev1.PersistentVolumeClaim) (*storagev1.StorageClass, string, error) {
	if w.classes == nil {
		known, err := cluster.List[storagev1.StorageClass](ctx, w.s.Cluster, cluster.StorageClasses, "", metav1.ListOptions{})
		if err != nil {
			return nil, "", cluster.Fault("list StorageClasses", err)
		}
		w.classes = &known
	}
	class, name := volume.ClassOf(*w.classes, c)
	return class, name, nil
}

// mounted are the claims of the namespace's pods that run or are to run.
func (w *awaited) mounted(ctx context.Context) (map[string]bool, error) {
	pods, err := cluster.List[corev1.Pod](ctx, w.s.Cluster, cluster.Pods, w.out.Namespace, metav1.ListOptions{})
	if err != nil {
		return nil, cluster.Fault("list the pods of namespace "+w.out.Namespace, err)
	}
	out := map[string]bool{}
	for i := range pods {
		if p := pods[i].Status.Phase; p == corev1.PodSucceeded || p == corev1.PodFailed {
			continue
		}
		for _, c := range volume.ClaimsOfPod(&pods[i]) {
			out[c] = true
		}
	}
	return out, nil
}
