package nodeagent

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/shared/cluster"
)

// manager is the agent's field manager and the source of its events.
const manager = "local-node-agent"

// portForwards are kwok's: where the kubelet's port-forward of a pod goes.
var portForwards = schema.GroupVersionResource{Group: "kwok.x-k8s.io", Version: "v1alpha1", Resource: "portforwards"}

// kube is what the agent writes to the cluster.
type kube struct{ c dynamic.Interface }

type object = map[string]any

// gone tells that the pod that a write was for is no more, or another one: such a write needs no repetition.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsForbidden(err) || apierrors.IsInvalid(err)
}

// try makes one attempt; reconcile comes again with the next change.
func (k kube) try(ctx context.Context, log *slog.Logger, what string, write func() error) {
	if err := write(); err != nil && !gone(err) && ctx.Err() == nil {
		log.Warn(what, "err", err)
	}
}

// insist repeats a write until it succeeds, cannot succeed any more, or ctx ends.
func (k kube) insist(ctx context.Context, write func() error) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := write()
		if err == nil || gone(err) {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}

// patchPod changes a pod, never another one of its name: the UID is a precondition.
func (k kube) patchPod(ctx context.Context, p *corev1.Pod, patch object, sub ...string) error {
	meta, _ := patch["metadata"].(object)
	if meta == nil {
		meta = object{}
	}
	meta["uid"] = string(p.UID)
	patch["metadata"] = meta
	b, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = k.c.Resource(cluster.Pods).Namespace(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, b,
		metav1.PatchOptions{FieldManager: manager}, sub...)
	return err
}

// hold puts the finalizer on a pod.
func (k kube) hold(ctx context.Context, p *corev1.Pod) error {
	return k.patchPod(ctx, p, object{"metadata": object{"finalizers": []string{Finalizer}}})
}

// release takes the finalizer off.
func (k kube) release(ctx context.Context, p *corev1.Pod) error {
	return k.patchPod(ctx, p, object{"metadata": object{"$deleteFromPrimitiveList/finalizers": []string{Finalizer}}})
}

// report tells the simulation whether the pod's processes answer, and how often they were started again.
func (k kube) report(ctx context.Context, p *corev1.Pod, ready bool, restarts int) error {
	a := object{kwok.ReadyAnnotation: strconv.FormatBool(ready)}
	if restarts > 0 {
		a[kwok.RestartsAnnotation] = strconv.Itoa(restarts)
	}
	return k.patchPod(ctx, p, object{"metadata": object{"annotations": a}})
}

// markDead does for a pod on a dead node what the node lifecycle controller does after its grace period: the pod is not ready
// (https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller). A finalizer would keep the pod for ever.
func (k kube) markDead(ctx context.Context, p *corev1.Pod) error {
	if hasFinalizer(p) || p.Annotations[kwok.ReadyAnnotation] == "true" {
		err := k.patchPod(ctx, p, object{"metadata": object{
			"annotations":                         object{kwok.ReadyAnnotation: "false"},
			"$deleteFromPrimitiveList/finalizers": []string{Finalizer}}})
		if err != nil {
			return err
		}
	}
	if !isReady(p) {
		return nil
	}
	now := time.Now().UTC().Format(time.RFC3339)
	cond := func(t corev1.PodConditionType) object {
		return object{"type": t, "status": "False", "reason": "NodeNotReady", "message": "Node is not ready", "lastTransitionTime": now}
	}
	return k.patchPod(ctx, p, object{"status": object{"conditions": []object{cond(corev1.PodReady), cond(corev1.ContainersReady)}}}, "status")
}

// setInUse reports a node's volumes in use, which the attach/detach controller does not detach
// (https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/#NodeStatus).
func (k kube) setInUse(ctx context.Context, n *corev1.Node, want []corev1.UniqueVolumeName) error {
	slices.Sort(want)
	want = slices.Compact(want)
	have := slices.Clone(n.Status.VolumesInUse)
	slices.Sort(have)
	if slices.Equal(want, have) {
		return nil
	}
	if want == nil {
		want = []corev1.UniqueVolumeName{}
	}
	b, err := json.Marshal(object{"metadata": object{"uid": string(n.UID)}, "status": object{"volumesInUse": want}})
	if err != nil {
		return err
	}
	_, err = k.c.Resource(cluster.Nodes).Patch(ctx, n.Name, types.MergePatchType, b, metav1.PatchOptions{FieldManager: manager}, "status")
	return err
}

// forward points the pod's ports to local ones; none removes the object.
func (k kube) forward(ctx context.Context, p *corev1.Pod, ports map[int32]int) error {
	r := k.c.Resource(portForwards).Namespace(p.Namespace)
	if len(ports) == 0 {
		return r.Delete(ctx, p.Name, metav1.DeleteOptions{})
	}
	var fs []any
	for pod, local := range ports {
		fs = append(fs, object{"ports": []any{int64(pod)}, "target": object{"address": "127.0.0.1", "port": int64(local)}})
	}
	u := &unstructured.Unstructured{Object: object{
		"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "PortForward",
		"metadata": object{"name": p.Name, "namespace": p.Namespace,
			"labels": object{"app.kubernetes.io/managed-by": manager},
			// It goes with its pod, and like a pod it belongs to its controller, not into an inventory.
			"ownerReferences": []any{object{"apiVersion": "v1", "kind": "Pod", "name": p.Name, "uid": string(p.UID), "controller": true}}},
		"spec": object{"forwards": fs},
	}}
	_, err := r.Apply(ctx, p.Name, u, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}

// event tells people what happened to a pod, as a kubelet does.
func (k kube) event(ctx context.Context, p *corev1.Pod, kind, reason, message string) {
	now := time.Now().UTC().Format(time.RFC3339)
	u := &unstructured.Unstructured{Object: object{
		"apiVersion": "v1", "kind": "Event",
		"metadata":       object{"generateName": p.Name + ".", "namespace": p.Namespace},
		"involvedObject": object{"apiVersion": "v1", "kind": "Pod", "namespace": p.Namespace, "name": p.Name, "uid": string(p.UID)},
		"type":           kind, "reason": reason, "message": message,
		"source":         object{"component": "kubelet", "host": p.Spec.NodeName},
		"firstTimestamp": now, "lastTimestamp": now, "count": int64(1),
	}}
	// An event that is lost changes nothing.
	_, _ = k.c.Resource(cluster.Events).Namespace(p.Namespace).Create(ctx, u, metav1.CreateOptions{FieldManager: manager})
}

func hasFinalizer(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, Finalizer) }

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
