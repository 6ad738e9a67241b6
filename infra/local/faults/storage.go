package faults

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/infra/local/nodeagent"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
)

// attachError makes the driver fail to attach one volume until the attachment is reset, and restarts the server elsewhere.
func attachError(ctx context.Context, b *breaker) error {
	s, err := b.server(ctx, 0)
	if err != nil {
		return err
	}
	name := "attach-" + s.pod.Name
	f := csidriver.Fault{RPC: "ControllerPublishVolume", Code: "Internal", VolumeID: s.handle,
		Message: fmt.Sprintf("could not attach volume %q: VolumeInUse/stuck attaching", s.handle)}
	if err := csidriver.SetFault(b.layout.CSIState(), name, f); err != nil {
		return err
	}
	b.say("the driver now refuses to attach volume %s of %s", s.handle, s)
	// On its node the volume is attached already, and the same node would not attach it again.
	if err := b.restartElsewhere(ctx, s); err != nil {
		return err
	}
	err = b.wait(ctx, "an attach error in the VolumeAttachment of "+s.volume, func(ctx context.Context) (bool, error) {
		all, err := b.attachments(ctx, s.volume)
		for _, a := range all {
			if a.Status.AttachError != nil && a.DeletionTimestamp == nil {
				return true, nil
			}
		}
		return false, err
	}, cluster.VolumeAttachments)
	if err != nil {
		return err
	}
	// The attach/detach controller must have given up its attempt: while it waits for an attachment, it does not notice for two
	// minutes when that is deleted (https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/volume/csi/csi_attacher.go).
	err = b.wait(ctx, "FailedAttachVolume of the replacement of "+s.String(), func(ctx context.Context) (bool, error) {
		p, err := b.replacement(ctx, s.pod)
		if p == nil || err != nil {
			return false, err
		}
		return b.warned(ctx, p, "FailedAttachVolume", "stuck attaching")
	}, cluster.Pods, cluster.Events)
	if err != nil {
		return err
	}
	// From now on a reset mends it. Not before: the detach from the first node would have been one.
	f.UntilUnpublished = true
	if err := csidriver.SetFault(b.layout.CSIState(), name, f); err != nil {
		return err
	}
	b.say("the VolumeAttachment of %s shows the attach error, and %s waits for its volume", s.volume, s)
	return nil
}

// restartElsewhere deletes a server's pod and keeps its replacement off the node until it is scheduled.
func (b *breaker) restartElsewhere(ctx context.Context, s server) (err error) {
	node := s.pod.Spec.NodeName
	if err := b.cordon(ctx, node, true); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, b.cordon(context.WithoutCancel(ctx), node, false))
	}()
	if err := b.remove(ctx, cluster.Pods, s.pod.Namespace, s.pod.Name); err != nil {
		return err
	}
	return b.wait(ctx, "the replacement of "+s.String(), func(ctx context.Context) (bool, error) {
		p, err := b.replacement(ctx, s.pod)
		return p != nil && p.Spec.NodeName != "", err
	}, cluster.Pods)
}

// deadNode switches a node off and deletes it, with the volumes of its servers attached. Its pods are deleted by force, which
// the pod garbage collector would do a minute later.
func deadNode(ctx context.Context, b *breaker) error {
	s, err := b.victim(ctx)
	if err != nil {
		return err
	}
	node := s.pod.Spec.NodeName
	u, err := b.c.Dynamic.Resource(cluster.Nodes).Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := sample.Keep(b.o.StackDir, u); err != nil {
		return err
	}
	csiNode, err := b.c.Dynamic.Resource(cluster.CSINodes).Get(ctx, node, metav1.GetOptions{})
	if err == nil {
		err = sample.Keep(b.o.StackDir, csiNode)
	}
	if err != nil {
		return err
	}
	err = b.patch(ctx, cluster.Nodes, "", node, map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		nodeagent.PowerAnnotation: nodeagent.PowerOff, kwok.ManagedAnnotation: nil}}})
	if err != nil {
		return err
	}
	b.say("node %s, on which %s runs, is switched off", node, s)
	var dead []corev1.Pod
	err = b.wait(ctx, "the end of the servers on node "+node, func(ctx context.Context) (bool, error) {
		pods, err := cluster.List[corev1.Pod](ctx, b.c, cluster.Pods, sample.Namespace, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		dead = pods
		for i := range pods {
			if ready(&pods[i]) {
				return false, nil
			}
		}
		return true, err
	}, cluster.Pods)
	if err != nil {
		return err
	}
	if err := b.remove(ctx, cluster.Nodes, "", node); err != nil {
		return err
	}
	zero := int64(0)
	for _, p := range dead {
		err := b.c.Dynamic.Resource(cluster.Pods).Namespace(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	b.say("node %s is deleted, and the pods on it", node)
	err = b.wait(ctx, "a Multi-Attach error of the replacement of "+s.String(), func(ctx context.Context) (bool, error) {
		p, err := b.replacement(ctx, s.pod)
		if p == nil || err != nil || p.Spec.NodeName == "" {
			return false, err
		}
		return b.warned(ctx, p, "FailedAttachVolume", "Multi-Attach")
	}, cluster.Pods, cluster.Events)
	if err != nil {
		return err
	}
	all, err := b.attachments(ctx, s.volume)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Spec.NodeName == node {
			b.say("volume %s stays attached to node %s, which is gone, and the new %s cannot attach it", s.volume, node, s)
			return nil
		}
	}
	return fmt.Errorf("volume %s is no longer attached to node %s, expected it to stay", s.volume, node)
}

// victim is a server whose node can die without taking the CSI controller along.
func (b *breaker) victim(ctx context.Context) (server, error) {
	busy, err := b.controllerNode(ctx)
	if err != nil {
		return server{}, err
	}
	for i := range sample.Replicas {
		s, err := b.server(ctx, i)
		if err != nil {
			return server{}, err
		}
		if s.pod.Spec.NodeName != busy {
			return s, nil
		}
	}
	return server{}, fmt.Errorf("every server runs on node %s with the CSI controller, expected one elsewhere", busy)
}

// driverGone deletes the CSI driver's objects and restarts a server, whose volume then is neither detached nor attached.
func driverGone(ctx context.Context, b *breaker) error {
	s, err := b.server(ctx, sample.Replicas-1)
	if err != nil {
		return err
	}
	if err := b.removeForGood(ctx, cluster.Deployments, stack.CSIControllerNamespace, stack.CSIController); err != nil {
		return err
	}
	if err := b.removeForGood(ctx, cluster.CSIDrivers, "", stack.DriverName); err != nil {
		return err
	}
	ok, err := b.c.WaitFor(ctx, again, []cluster.Source{{GVR: cluster.Pods, Namespace: stack.CSIControllerNamespace}}, func(ctx context.Context) (bool, error) {
		node, err := b.controllerNode(ctx)
		return node == "", err
	})
	if err == nil && !ok {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for the end of the CSI controller's pods: %w", err)
	}
	b.say("Deployment %s/%s and CSIDriver %s are deleted", stack.CSIControllerNamespace, stack.CSIController, stack.DriverName)
	if err := b.restartElsewhere(ctx, s); err != nil {
		return err
	}
	err = b.wait(ctx, "a detach of "+s.volume+" that nobody does", func(ctx context.Context) (bool, error) {
		all, err := b.attachments(ctx, s.volume)
		for _, a := range all {
			if a.Spec.NodeName == s.pod.Spec.NodeName && a.DeletionTimestamp != nil {
				return true, nil
			}
		}
		return false, err
	}, cluster.VolumeAttachments)
	if err != nil {
		return err
	}
	b.say("%s was restarted and waits for its volume, which nobody detaches", s)
	return nil
}
