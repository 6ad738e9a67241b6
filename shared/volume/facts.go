package volume

import (
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
)

// Facts is what was read about one workload and its storage.
type Facts struct {
	Namespace string
	Name      string
	// StatefulSet is nil when it does not exist.
	StatefulSet *appsv1.StatefulSet
	// Pods of the StatefulSet.
	Pods []corev1.Pod
	// Claims that exist and belong to the workload, leftovers of a scale-down included.
	Claims []corev1.PersistentVolumeClaim
	// Volumes whose claimRef names a claim of the workload, existing or not.
	Volumes []corev1.PersistentVolume
	// Attachments of Volumes.
	Attachments []storagev1.VolumeAttachment
	// Nodes of the cluster.
	Nodes []corev1.Node
	// Drivers are all CSIDriver objects, Classes all StorageClasses.
	Drivers []storagev1.CSIDriver
	Classes []storagev1.StorageClass
}

// ReadWorkload reads the StatefulSet and its pods only. A StatefulSet that does not exist is no error.
func ReadWorkload(ctx context.Context, c *cluster.Client, namespace, statefulSet string) (*Facts, error) {
	f := &Facts{Namespace: namespace, Name: statefulSet}
	s, err := cluster.Get[appsv1.StatefulSet](ctx, c, cluster.StatefulSets, namespace, statefulSet)
	switch {
	case err == nil:
		f.StatefulSet = s
	case !apierrors.IsNotFound(err):
		return nil, cluster.Fault("read StatefulSet "+namespace+"/"+statefulSet, err)
	}
	pods, err := cluster.List[corev1.Pod](ctx, c, cluster.Pods, namespace, metav1.ListOptions{})
	if err != nil {
		return nil, cluster.Fault("list the pods of namespace "+namespace, err)
	}
	for _, p := range pods {
		if IsPodOf(&p, statefulSet) {
			f.Pods = append(f.Pods, p)
		}
	}
	return f, nil
}

// Read reads everything that Facts holds.
func Read(ctx context.Context, c *cluster.Client, namespace, statefulSet string) (*Facts, error) {
	f, err := ReadWorkload(ctx, c, namespace, statefulSet)
	if err != nil {
		return nil, err
	}
	if err := f.readStorage(ctx, c); err != nil {
		return nil, err
	}
	if f.Nodes, err = cluster.List[corev1.Node](ctx, c, cluster.Nodes, "", metav1.ListOptions{}); err != nil {
		return nil, cluster.Fault("list nodes", err)
	}
	if f.Drivers, err = cluster.List[storagev1.CSIDriver](ctx, c, cluster.CSIDrivers, "", metav1.ListOptions{}); err != nil {
		return nil, cluster.Fault("list CSIDrivers", err)
	}
	if f.Classes, err = cluster.List[storagev1.StorageClass](ctx, c, cluster.StorageClasses, "", metav1.ListOptions{}); err != nil {
		return nil, cluster.Fault("list StorageClasses", err)
	}
	return f, nil
}

// readStorage reads claims, volumes and attachments. Attachments cannot be selected by volume, so all are listed.
func (f *Facts) readStorage(ctx context.Context, c *cluster.Client) error {
	claims, err := cluster.List[corev1.PersistentVolumeClaim](ctx, c, cluster.PersistentVolumeClaims, f.Namespace, metav1.ListOptions{})
	if err != nil {
		return cluster.Fault("list the claims of namespace "+f.Namespace, err)
	}
	for _, cl := range claims {
		if f.owns(cl.Name) {
			f.Claims = append(f.Claims, cl)
		}
	}
	volumes, err := cluster.List[corev1.PersistentVolume](ctx, c, cluster.PersistentVolumes, "", metav1.ListOptions{})
	if err != nil {
		return cluster.Fault("list PersistentVolumes", err)
	}
	for _, v := range volumes {
		if r := v.Spec.ClaimRef; r != nil && r.Namespace == f.Namespace && f.owns(r.Name) {
			f.Volumes = append(f.Volumes, v)
		}
	}
	attachments, err := cluster.List[storagev1.VolumeAttachment](ctx, c, cluster.VolumeAttachments, "", metav1.ListOptions{})
	if err != nil {
		return cluster.Fault("list VolumeAttachments", err)
	}
	for _, a := range attachments {
		if a.Spec.Source.PersistentVolumeName != nil && f.Volume(*a.Spec.Source.PersistentVolumeName) != nil {
			f.Attachments = append(f.Attachments, a)
		}
	}
	return nil
}

// owns tells whether a claim of this name belongs to the workload.
func (f *Facts) owns(claim string) bool {
	return IsClaimOf(claim, f.Name) || slices.Contains(ClaimNames(f.StatefulSet), claim)
}

// Claim returns a claim by name, or nil.
func (f *Facts) Claim(name string) *corev1.PersistentVolumeClaim {
	i := slices.IndexFunc(f.Claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &f.Claims[i]
}

// Volume returns a volume by name, or nil.
func (f *Facts) Volume(name string) *corev1.PersistentVolume {
	i := slices.IndexFunc(f.Volumes, func(v corev1.PersistentVolume) bool { return v.Name == name })
	if i < 0 {
		return nil
	}
	return &f.Volumes[i]
}

// Node returns a node by name, or nil: the node is gone.
func (f *Facts) Node(name string) *corev1.Node {
	i := slices.IndexFunc(f.Nodes, func(n corev1.Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return &f.Nodes[i]
}

// Driver returns a CSIDriver by name, or nil.
func (f *Facts) Driver(name string) *storagev1.CSIDriver {
	i := slices.IndexFunc(f.Drivers, func(d storagev1.CSIDriver) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &f.Drivers[i]
}

// Class returns a StorageClass by name, or nil.
func (f *Facts) Class(name string) *storagev1.StorageClass { return ClassNamed(f.Classes, name) }
