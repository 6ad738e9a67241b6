package stack

import (
	"context"
	"encoding/json"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/infra/local/nodeagent"
)

// freeLeases deletes the nodes' leases that an earlier simulation holds: the new one plays a node's pods only once it has the
// lease, and would wait ten seconds for that.
func (s *Stack) freeLeases(ctx context.Context) error {
	leases := s.dyn.Resource(v1("coordination.k8s.io", "leases")).Namespace("kube-node-lease")
	return parallel(ctx, s.record.Nodes, func(ctx context.Context, i int) error {
		err := leases.Delete(ctx, kwok.NodeName(i), metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// restartPods says of every pod that was ready when the stack stopped that it is not, until the node agent says so again: its
// processes ended with the stack.
func (s *Stack) restartPods(ctx context.Context) error {
	pods, err := s.dyn.Resource(v1("", "pods")).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return parallel(ctx, len(pods.Items), func(ctx context.Context, i int) error {
		p := pods.Items[i]
		if p.GetAnnotations()[kwok.ReadyAnnotation] != "true" {
			return nil
		}
		meta := map[string]any{"uid": string(p.GetUID()), "annotations": map[string]string{kwok.ReadyAnnotation: "false"}}
		if err := s.patchPod(ctx, p, map[string]any{"metadata": meta}); err != nil {
			return err
		}
		if phase, _, _ := unstructured.NestedString(p.Object, "status", "phase"); phase != "Running" {
			return nil
		}
		var conditions []map[string]string
		for _, t := range []string{"Ready", "ContainersReady"} {
			conditions = append(conditions, map[string]string{"type": t, "status": "False", "reason": "ContainersNotReady",
				"message": "the stack was started again", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339)})
		}
		return s.patchPod(ctx, p, map[string]any{"status": map[string]any{"conditions": conditions}}, "status")
	})
}

func (s *Stack) patchPod(ctx context.Context, p unstructured.Unstructured, patch map[string]any, sub ...string) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = s.dyn.Resource(v1("", "pods")).Namespace(p.GetNamespace()).
		Patch(ctx, p.GetName(), types.StrategicMergePatchType, data, metav1.PatchOptions{FieldManager: manager}, sub...)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, or another one of its name
		return nil
	}
	return err
}

// powerOn makes every node a healthy one again: a fault that an earlier start was told to play ends with it.
func (s *Stack) powerOn(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"labels":      map[string]any{kwok.NotReadyLabel: nil},
		"annotations": map[string]any{nodeagent.PowerAnnotation: nil},
	}})
	if err != nil {
		return err
	}
	nodes := s.dyn.Resource(v1("", "nodes"))
	return parallel(ctx, s.record.Nodes, func(ctx context.Context, i int) error {
		_, err := nodes.Patch(ctx, kwok.NodeName(i), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager})
		return err
	})
}

// Repair starts the components that are down and puts the stack's own objects back. Faults of nodes and of the CSI driver stay.
func (s *Stack) Repair(ctx context.Context) error {
	for _, c := range s.components {
		if c.spec.Name == Velero { // it needs objects that may have to be put back
			continue
		}
		if err := s.StartComponent(ctx, c.spec.Name); err != nil {
			return err
		}
	}
	if err := s.installCRDs(ctx); err != nil {
		return err
	}
	if err := s.installRights(ctx); err != nil {
		return err
	}
	if err := s.installObjects(ctx); err != nil {
		return err
	}
	if err := s.Backups().makeBucket(ctx); err != nil {
		return err
	}
	if err := s.installVelero(ctx); err != nil {
		return err
	}
	return s.StartComponent(ctx, Velero)
}
