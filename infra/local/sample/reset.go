package sample

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
)

// removeTimeout bounds the removal of the old shop.
const removeTimeout = 2 * time.Minute

// Reset brings the shop back to its initial state: it ends every fault, removes the shop with its volumes, snapshots and
// Velero backups, and deploys it anew.
func Reset(ctx context.Context, o Options) (*Deployed, error) {
	c, err := cluster.FromKubeconfig(o.Kubeconfig, "")
	if err != nil {
		return nil, err
	}
	if o.StackDir != "" {
		if err := revive(ctx, c, o.StackDir); err != nil {
			return nil, err
		}
	}
	o.say("end every fault")
	if err := mend(ctx, c, o); err != nil {
		return nil, err
	}
	o.say("remove the shop with its volumes, snapshots and backups")
	if err := removeBackups(ctx, c, o, Namespace); err != nil {
		return nil, err
	}
	if err := Remove(ctx, c); err != nil {
		return nil, err
	}
	return Deploy(ctx, o)
}

// Remove deletes the shop's namespace, its volumes, also those that were told to stay, and its snapshots.
func Remove(ctx context.Context, c *cluster.Client) error { return shop().remove(ctx, c) }

func (w workload) remove(ctx context.Context, c *cluster.Client) error {
	ctx, cancel := context.WithTimeoutCause(ctx, removeTimeout, fmt.Errorf("it was not gone after %s", removeTimeout))
	defer cancel()
	vols, contents, err := owned(ctx, c, w.namespace)
	if err != nil {
		return err
	}
	for _, name := range vols {
		if err := patch(ctx, c, cluster.PersistentVolumes, name, `{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`); err != nil {
			return err
		}
	}
	for _, name := range contents {
		if err := patch(ctx, c, cluster.VolumeSnapshotContents, name, `{"spec":{"deletionPolicy":"Delete"}}`); err != nil {
			return err
		}
	}
	// The namespace controller leaves a deleted namespace alone for five seconds
	// (https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/controller/namespace/namespace_controller.go), in which it is emptied.
	there, err := doom(ctx, c, cluster.Namespaces, "", w.namespace)
	if err != nil {
		return err
	}
	if err := w.empty(ctx, c); err != nil {
		return err
	}
	if there {
		if err := awaitGone(ctx, c, cluster.Namespaces, "", w.namespace); err != nil {
			return err
		}
	}
	for _, name := range contents {
		if err := gone(ctx, c, cluster.VolumeSnapshotContents, "", name); err != nil {
			return err
		}
	}
	for _, name := range vols {
		if err := awaitGone(ctx, c, cluster.PersistentVolumes, "", name); err != nil {
			return err
		}
	}
	return nil
}

// Empty deletes what keeps a namespace from going at once: the StatefulSet with its pods, the snapshots, the claims. A namespace
// that still holds them is looked at again only every five seconds.
func Empty(ctx context.Context, c *cluster.Client) error { return shop().empty(ctx, c) }

func (w workload) empty(ctx context.Context, c *cluster.Client) error {
	if err := gone(ctx, c, cluster.StatefulSets, w.namespace, w.statefulSet); err != nil {
		return err
	}
	if err := w.noPods(ctx, c); err != nil {
		return err
	}
	// All are asked to go before any is waited for: a claim that is still being made keeps its snapshot, and a snapshot that is still
	// being taken its claim.
	var waits []func() error
	for _, gvr := range []schema.GroupVersionResource{cluster.PersistentVolumeClaims, cluster.VolumeSnapshots} {
		l, err := c.Dynamic.Resource(gvr).Namespace(w.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, u := range l.Items {
			if _, err := doom(ctx, c, gvr, w.namespace, u.GetName()); err != nil {
				return err
			}
			waits = append(waits, func() error { return awaitGone(ctx, c, gvr, w.namespace, u.GetName()) })
		}
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			return err
		}
	}
	return nil
}

// owned lists the volumes and the snapshot contents that were bound in a namespace.
func owned(ctx context.Context, c *cluster.Client, namespace string) (vols, contents []string, err error) {
	pvs, err := cluster.List[corev1.PersistentVolume](ctx, c, cluster.PersistentVolumes, "", metav1.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	for _, pv := range pvs {
		if pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == namespace {
			vols = append(vols, pv.Name)
		}
	}
	l, err := c.Dynamic.Resource(cluster.VolumeSnapshotContents).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	for _, u := range l.Items {
		if ns, _, _ := unstructured.NestedString(u.Object, "spec", "volumeSnapshotRef", "namespace"); ns == namespace {
			contents = append(contents, u.GetName())
		}
	}
	return vols, contents, nil
}

func patch(ctx context.Context, c *cluster.Client, gvr schema.GroupVersionResource, name, body string) error {
	_, err := c.Dynamic.Resource(gvr).Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: manager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// gone deletes an object and waits until it is no more.
func gone(ctx context.Context, c *cluster.Client, gvr schema.GroupVersionResource, namespace, name string) error {
	if there, err := doom(ctx, c, gvr, namespace, name); err != nil || !there {
		return err
	}
	return awaitGone(ctx, c, gvr, namespace, name)
}

// doom has an object deleted, and tells whether there was one.
func doom(ctx context.Context, c *cluster.Client, gvr schema.GroupVersionResource, namespace, name string) (there bool, err error) {
	background := metav1.DeletePropagationBackground
	err = c.Dynamic.Resource(gvr).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsConflict(err): // a namespace that is on its way out already answers a second request with it
		return true, nil
	}
	return true, err
}

func awaitGone(ctx context.Context, c *cluster.Client, gvr schema.GroupVersionResource, namespace, name string) error {
	what := gvr.Resource + " " + name
	ok, err := c.WaitFor(ctx, again, []cluster.Source{{GVR: gvr, Namespace: namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + name}}},
		func(ctx context.Context) (bool, error) {
			_, err := c.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return true, nil
			}
			return false, err
		})
	if err == nil && !ok {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for the end of %s: %w", what, err)
	}
	return nil
}

// noPods waits until the workload has no pod.
func (w workload) noPods(ctx context.Context, c *cluster.Client) error {
	ok, err := c.WaitFor(ctx, again, []cluster.Source{{GVR: cluster.Pods, Namespace: w.namespace}}, func(ctx context.Context) (bool, error) {
		pods, err := w.pods(ctx, c, w.namespace)
		return len(pods) == 0, err
	})
	if err == nil && !ok {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for the end of the pods of %s: %w", w.namespace, err)
	}
	return nil
}
