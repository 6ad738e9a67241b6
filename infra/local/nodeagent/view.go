package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"fallbackchain.io/fallback/shared/cluster"
)

// view is what the agent sees of the cluster: watched copies that stay as they were while the API server does not answer, as
// a kubelet's do.
type view struct {
	factory                               dynamicinformer.DynamicSharedInformerFactory
	podS, nodeS, claimS, pvS, attachmentS cache.SharedIndexInformer
}

func newView(c dynamic.Interface, changed func()) *view {
	v := &view{factory: dynamicinformer.NewDynamicSharedInformerFactory(c, 0)}
	v.podS = watched[corev1.Pod](v, cluster.Pods, changed)
	v.nodeS = watched[corev1.Node](v, cluster.Nodes, changed)
	v.claimS = watched[corev1.PersistentVolumeClaim](v, cluster.PersistentVolumeClaims, changed)
	v.pvS = watched[corev1.PersistentVolume](v, cluster.PersistentVolumes, changed)
	v.attachmentS = watched[storagev1.VolumeAttachment](v, cluster.VolumeAttachments, changed)
	return v
}

// watched makes an informer that holds decoded objects.
func watched[T any](v *view, gvr schema.GroupVersionResource, changed func()) cache.SharedIndexInformer {
	i := v.factory.ForResource(gvr).Informer()
	// It fails only on a started informer.
	_ = i.SetTransform(func(o any) (any, error) {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return o, nil
		}
		unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
		return cluster.Decode[T](u)
	})
	_, _ = i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() }})
	return i
}

// start watches and returns when everything was read once.
func (v *view) start(ctx context.Context) error {
	v.factory.Start(ctx.Done())
	for gvr, ok := range v.factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return fmt.Errorf("node agent: %s were not read before the end: %w", gvr.Resource, context.Cause(ctx))
		}
	}
	return nil
}

// wait returns when the watches have ended.
func (v *view) wait() { v.factory.Shutdown() }

func all[T any](i cache.SharedIndexInformer) []*T {
	var out []*T
	for _, o := range i.GetStore().List() {
		if t, ok := o.(*T); ok {
			out = append(out, t)
		}
	}
	return out
}

func byKey[T any](i cache.SharedIndexInformer, key string) *T {
	o, _, _ := i.GetStore().GetByKey(key)
	t, _ := o.(*T)
	return t
}

func (v *view) pods() []*corev1.Pod             { return all[corev1.Pod](v.podS) }
func (v *view) nodes() []*corev1.Node           { return all[corev1.Node](v.nodeS) }
func (v *view) node(name string) *corev1.Node   { return byKey[corev1.Node](v.nodeS, name) }
func (v *view) pod(ns, name string) *corev1.Pod { return byKey[corev1.Pod](v.podS, ns+"/"+name) }

// volume is one of a pod's volumes.
type volume struct {
	// name is the volume's name in the pod.
	name string
	// handle is the CSI volume handle; empty for a volume that is not persistent.
	handle string
	// unique is the volume's name in a node's volumesInUse; empty when it is not attached.
	unique corev1.UniqueVolumeName
}

// volumes lists a pod's persistent volumes, or says what they still wait for.
func (v *view) volumes(p *corev1.Pod) (out []volume, waiting string) {
	for _, pv := range p.Spec.Volumes {
		claim := ""
		switch {
		case pv.PersistentVolumeClaim != nil:
			claim = pv.PersistentVolumeClaim.ClaimName
		case pv.Ephemeral != nil:
			claim = p.Name + "-" + pv.Name
		default:
			continue
		}
		vol, waiting := v.volume(p, claim)
		if waiting != "" {
			return nil, waiting
		}
		vol.name = pv.Name
		out = append(out, vol)
	}
	return out, ""
}

func (v *view) volume(p *corev1.Pod, claim string) (volume, string) {
	c := byKey[corev1.PersistentVolumeClaim](v.claimS, p.Namespace+"/"+claim)
	if c == nil || c.Status.Phase != corev1.ClaimBound {
		return volume{}, "claim " + claim + " is not bound"
	}
	pv := byKey[corev1.PersistentVolume](v.pvS, c.Spec.VolumeName)
	if pv == nil {
		return volume{}, "volume " + c.Spec.VolumeName + " is not there"
	}
	if pv.Spec.CSI == nil {
		return volume{}, "volume " + pv.Name + " is not a CSI volume, which is all that simulated nodes can use"
	}
	h := pv.Spec.CSI.VolumeHandle
	if h == "" || h != filepath.Base(h) {
		return volume{}, fmt.Sprintf("volume %s has handle %q, expected a directory's name", pv.Name, h)
	}
	vol := volume{handle: h, unique: corev1.UniqueVolumeName("kubernetes.io/csi/" + pv.Spec.CSI.Driver + "^" + h)}
	for _, at := range all[storagev1.VolumeAttachment](v.attachmentS) {
		if at.Spec.NodeName == p.Spec.NodeName && at.Spec.Source.PersistentVolumeName != nil && *at.Spec.Source.PersistentVolumeName == pv.Name && at.Status.Attached {
			return vol, ""
		}
	}
	return volume{}, "volume " + pv.Name + " is not attached to node " + p.Spec.NodeName
}

var errNoVolume = errors.New("it mounts no persistent volume")

// mounted is the handle of the first persistent volume that a container mounts.
func mounted(c *corev1.Container, vols []volume) (string, error) {
	for _, m := range c.VolumeMounts {
		for _, v := range vols {
			if v.name == m.Name {
				return v.handle, nil
			}
		}
	}
	return "", errNoVolume
}
