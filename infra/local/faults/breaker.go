package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
)

// manager is the field manager of what faults write.
const manager = "fallback-break"

// again is how often a wait looks even when nothing changed.
const again = time.Second

// breaker is what a fault works with.
type breaker struct {
	o      Options
	c      *cluster.Client
	layout stack.Layout
}

func (b *breaker) say(format string, args ...any) {
	if b.o.Progress != nil {
		b.o.Progress(fmt.Sprintf(format, args...))
	}
}

// server is one of the shop's servers with its volume.
type server struct {
	pod    *corev1.Pod
	volume string // the PersistentVolume
	handle string // the storage system's own ID of it
}

func (s server) String() string { return "pod " + s.pod.Namespace + "/" + s.pod.Name }

// server reads a server that runs.
func (b *breaker) server(ctx context.Context, i int) (server, error) {
	p, err := cluster.Get[corev1.Pod](ctx, b.c, cluster.Pods, sample.Namespace, sample.Pod(i))
	if err != nil {
		return server{}, fmt.Errorf("the sample must be deployed and whole: %w", err)
	}
	if p.Spec.NodeName == "" || !ready(p) {
		return server{}, fmt.Errorf("pod %s/%s is not ready: the sample must be whole before it is broken", p.Namespace, p.Name)
	}
	claim, err := cluster.Get[corev1.PersistentVolumeClaim](ctx, b.c, cluster.PersistentVolumeClaims, sample.Namespace, sample.Claim(i))
	if err != nil {
		return server{}, err
	}
	pv, err := cluster.Get[corev1.PersistentVolume](ctx, b.c, cluster.PersistentVolumes, "", claim.Spec.VolumeName)
	if err != nil {
		return server{}, err
	}
	if pv.Spec.CSI == nil {
		return server{}, fmt.Errorf("volume %s is not a CSI volume", pv.Name)
	}
	return server{p, pv.Name, pv.Spec.CSI.VolumeHandle}, nil
}

// wait evaluates done at every change of the sources until it says true. What it lacks is in the error.
func (b *breaker) wait(ctx context.Context, what string, done func(context.Context) (bool, error), gvrs ...schema.GroupVersionResource) error {
	var sources []cluster.Source
	for _, g := range gvrs {
		ns := ""
		if g == cluster.Pods || g == cluster.Events || g == cluster.StatefulSets {
			ns = sample.Namespace
		}
		sources = append(sources, cluster.Source{GVR: g, Namespace: ns})
	}
	ok, err := b.c.WaitFor(ctx, again, sources, done)
	if err == nil && !ok {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}

// remove deletes an object; one that is not there is no error.
func (b *breaker) remove(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) error {
	background := metav1.DeletePropagationBackground
	err := b.c.Dynamic.Resource(gvr).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// removeForGood deletes an object outside the shop's namespace, having written it down for Reset.
func (b *breaker) removeForGood(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) error {
	u, err := b.c.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := sample.Keep(b.o.StackDir, u); err != nil {
		return err
	}
	return b.remove(ctx, gvr, namespace, name)
}

func (b *breaker) patch(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string, body map[string]any) error {
	p, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = b.c.Dynamic.Resource(gvr).Namespace(namespace).Patch(ctx, name, types.MergePatchType, p, metav1.PatchOptions{FieldManager: manager})
	return err
}

// cordon keeps new pods off a node, or lets them on again.
func (b *breaker) cordon(ctx context.Context, node string, on bool) error {
	return b.patch(ctx, cluster.Nodes, "", node, map[string]any{"spec": map[string]any{"unschedulable": on}})
}

// attachments lists the VolumeAttachments of a volume.
func (b *breaker) attachments(ctx context.Context, volume string) ([]storagev1.VolumeAttachment, error) {
	all, err := cluster.List[storagev1.VolumeAttachment](ctx, b.c, cluster.VolumeAttachments, "", metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []storagev1.VolumeAttachment
	for _, a := range all {
		if p := a.Spec.Source.PersistentVolumeName; p != nil && *p == volume {
			out = append(out, a)
		}
	}
	return out, nil
}

// replacement is the pod after the one that was there, nil until it is.
func (b *breaker) replacement(ctx context.Context, before *corev1.Pod) (*corev1.Pod, error) {
	p, err := cluster.Get[corev1.Pod](ctx, b.c, cluster.Pods, before.Namespace, before.Name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil || p.UID == before.UID {
		return nil, err
	}
	return p, nil
}

// warned tells whether a pod has a warning with this reason and text.
func (b *breaker) warned(ctx context.Context, p *corev1.Pod, reason, text string) (bool, error) {
	events, err := cluster.List[corev1.Event](ctx, b.c, cluster.Events, p.Namespace, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(p.UID)})
	for _, e := range events {
		if e.Reason == reason && strings.Contains(e.Message, text) {
			return true, nil
		}
	}
	return false, err
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// controllerNode is where the CSI controller's pod runs, "" when it runs nowhere.
func (b *breaker) controllerNode(ctx context.Context) (string, error) {
	pods, err := cluster.List[corev1.Pod](ctx, b.c, cluster.Pods, stack.CSIControllerNamespace, metav1.ListOptions{LabelSelector: sample.AppLabel + "=" + stack.CSIController})
	if err != nil || len(pods) == 0 {
		return "", err
	}
	return pods[0].Spec.NodeName, nil
}

// nested reads a string of an object.
func nested(u *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	return s
}
