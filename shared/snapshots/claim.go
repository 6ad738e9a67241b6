package snapshots

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// Import makes a snapshot usable in another namespace: a pre-provisioned VolumeSnapshotContent with the same handle
// (https://kubernetes.io/docs/concepts/storage/volume-snapshots/#static) and a VolumeSnapshot that is bound to it. Both carry the run
// ID in their names and belong to the run. The content's deletion policy is Retain, so that deleting it leaves the storage system's
// snapshot, which is somebody else's, alone. The answer names the new VolumeSnapshot; it becomes ready when the snapshot
// controller has bound it, for which a claim may be made at once: the provisioner waits.
func Import(ctx context.Context, ch *change.Changer, src run.Snapshot, namespace string) (run.Snapshot, error) {
	name := ch.Run + "-" + src.Claim
	op := fmt.Sprintf("import the snapshot of claim %s into %s", src.Claim, namespace)
	if src.Handle == "" || src.Driver == "" {
		return src, fault.Newf(fault.ObjectsMissing, op, "snapshot %s/%s has no handle and driver", src.Namespace, src.Name)
	}
	if len(name) > 253 {
		return src, fault.Newf(fault.NotQualified, op, "its name %s would have %d characters, expected at most 253", name, len(name))
	}
	spec := map[string]any{
		"deletionPolicy":    "Retain",
		"driver":            src.Driver,
		"source":            map[string]any{"snapshotHandle": src.Handle},
		"volumeSnapshotRef": map[string]any{"apiVersion": APIVersion, "kind": Kind, "name": name, "namespace": namespace},
	}
	if src.Content != "" {
		// Without the mode of the volume that was snapshotted a Block volume could be restored as a Filesystem.
		have, err := cluster.Get[VolumeSnapshotContent](ctx, &cluster.Client{Dynamic: ch.Client}, cluster.VolumeSnapshotContents, "", src.Content)
		switch {
		case apierrors.IsNotFound(err): // the object is gone; whether the snapshot behind it is, its driver will say
		case err != nil:
			return src, cluster.Fault("read VolumeSnapshotContent "+src.Content, err)
		case have.Spec.SourceVolumeMode != nil:
			spec["sourceVolumeMode"] = string(*have.Spec.SourceVolumeMode)
		}
	}
	content := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": APIVersion, "kind": "VolumeSnapshotContent", "metadata": map[string]any{"name": name}, "spec": spec}}
	if _, err := ch.Create(ctx, content, "the snapshot of claim "+src.Claim+", for namespace "+namespace); err != nil {
		return src, err
	}
	vs := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": APIVersion, "kind": Kind, "metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{"source": map[string]any{"volumeSnapshotContentName": name}}}}
	if _, err := ch.Create(ctx, vs, "the snapshot of claim "+src.Claim+", in namespace "+namespace); err != nil {
		return src, err
	}
	out := src
	out.Name, out.Namespace, out.Content = name, namespace, name
	return out, nil
}

// Claim builds a claim that is restored from a VolumeSnapshot in the same namespace. like is a claim or claim template whose
// class, modes, labels and size it takes; the size is at least the snapshot's. What binds like to its own volume is left out. The claim
// says when the snapshot was taken (change.AnnotationTakenAt).
func Claim(like *corev1.PersistentVolumeClaim, namespace, name string, s run.Snapshot) (*unstructured.Unstructured, error) {
	op := fmt.Sprintf("claim %s/%s from a snapshot", namespace, name)
	if s.Namespace != namespace || s.Name == "" {
		return nil, fault.Newf(fault.Internal, op, "snapshot %s/%s is not in its namespace", s.Namespace, s.Name)
	}
	c, err := fresh(like, namespace, name, op)
	if err != nil {
		return nil, err
	}
	if !s.TakenAt.IsZero() {
		if c.Annotations == nil {
			c.Annotations = map[string]string{}
		}
		c.Annotations[change.AnnotationTakenAt] = s.TakenAt.UTC().Format(time.RFC3339Nano)
	}
	group := APIGroup
	c.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: Kind, Name: s.Name}
	if s.Size != "" {
		least, err := resource.ParseQuantity(s.Size)
		if err != nil {
			return nil, fault.Newf(fault.NotQualified, op, "the snapshot's size %q is not a quantity", s.Size)
		}
		if have := c.Spec.Resources.Requests[corev1.ResourceStorage]; have.Cmp(least) < 0 {
			c.Spec.Resources.Requests[corev1.ResourceStorage] = least
		}
	}
	return encode(c, op)
}

// ClaimOnVolume builds a claim that takes a retained volume. Release makes the volume take it.
func ClaimOnVolume(like *corev1.PersistentVolumeClaim, namespace, name, volume string) (*unstructured.Unstructured, error) {
	op := fmt.Sprintf("claim %s/%s on volume %s", namespace, name, volume)
	c, err := fresh(like, namespace, name, op)
	if err != nil {
		return nil, err
	}
	c.Spec.VolumeName = volume
	return encode(c, op)
}

// bindAnnotations tie a claim to the volume and node it had, or say where its data came from
// (https://kubernetes.io/docs/reference/labels-annotations-taints/).
var bindAnnotations = []string{"pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller",
	"volume.kubernetes.io/selected-node", "volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner",
	"volume.kubernetes.io/storage-resizer", "kubectl.kubernetes.io/last-applied-configuration", change.AnnotationTakenAt}

func fresh(like *corev1.PersistentVolumeClaim, namespace, name, op string) (*corev1.PersistentVolumeClaim, error) {
	l := like.DeepCopy()
	c := &corev1.PersistentVolumeClaim{Spec: l.Spec}
	c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
	c.Namespace, c.Name, c.Labels, c.Annotations = namespace, name, l.Labels, l.Annotations
	for _, a := range bindAnnotations {
		delete(c.Annotations, a)
	}
	c.Spec.VolumeName, c.Spec.DataSource, c.Spec.DataSourceRef = "", nil, nil
	if _, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]; !ok {
		return nil, fault.Newf(fault.NotQualified, op, "claim %s has no resources.requests.storage", like.Name)
	}
	return c, nil
}

func encode(c *corev1.PersistentVolumeClaim, op string) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c)
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	u := &unstructured.Unstructured{Object: m}
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u, nil
}
