package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/infra/local/nodeagent"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
)

// keptDir holds what a fault took from the cluster outside the shop's namespace, one JSON file an object.
func keptDir(stackDir string) string { return filepath.Join(stackDir, "broken") }

// Keep writes down an object that is about to be deleted, so that Reset can put it back. An object that was kept before stays as
// it was first.
func Keep(stackDir string, u *unstructured.Unstructured) error {
	if err := os.MkdirAll(keptDir(stackDir), 0o700); err != nil {
		return err
	}
	path := filepath.Join(keptDir(stackDir), strings.ToLower(u.GetKind())+"-"+u.GetName()+".json")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	b, err := json.MarshalIndent(u.Object, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, b)
}

// mend undoes what faults did outside the shop's namespace.
func mend(ctx context.Context, c *cluster.Client, o Options) error {
	if o.StackDir != "" {
		fs, err := csidriver.Faults(o.layout().CSIState())
		if err != nil {
			return err
		}
		for name := range fs {
			if err := csidriver.ClearFault(o.layout().CSIState(), name); err != nil {
				return err
			}
		}
		if err := putBack(ctx, c, keptDir(o.StackDir)); err != nil {
			return err
		}
	}
	return mendNodes(ctx, c)
}

// putBack creates what was kept, the nodes first, because others are owned by them.
func putBack(ctx context.Context, c *cluster.Client, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	nodes, err := filepath.Glob(filepath.Join(dir, "node-*.json"))
	if err != nil {
		return err
	}
	for _, f := range append(nodes, files...) {
		b, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // a node, done in the first round
		}
		u := &unstructured.Unstructured{}
		if err == nil {
			err = json.Unmarshal(b, &u.Object)
		}
		if err == nil {
			err = create(ctx, c, u)
		}
		if err == nil {
			err = os.Remove(f)
		}
		if err != nil {
			return fmt.Errorf("put back %s: %w", filepath.Base(f), err)
		}
	}
	return nil
}

// create makes an object as it was, with its status; one that is there again is left alone.
func create(ctx context.Context, c *cluster.Client, u *unstructured.Unstructured) error {
	gvk := u.GroupVersionKind()
	m, err := c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	for _, f := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "deletionTimestamp",
		"deletionGracePeriodSeconds", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", f)
	}
	if owners := u.GetOwnerReferences(); len(owners) == 1 && owners[0].Kind == "Node" {
		n, err := cluster.Get[corev1.Node](ctx, c, cluster.Nodes, "", owners[0].Name)
		if err != nil {
			return err
		}
		owners[0].UID = n.UID
		u.SetOwnerReferences(owners)
	}
	r := c.Dynamic.Resource(m.Resource).Namespace(u.GetNamespace())
	made, err := r.Create(ctx, u, metav1.CreateOptions{FieldManager: manager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil || u.GetKind() != "Node" {
		return err
	}
	status, _, _ := unstructured.NestedMap(u.Object, "status")
	// Nothing is on it yet, and whether it is ready its kubelet says.
	for _, f := range []string{"volumesInUse", "volumesAttached", "conditions"} {
		delete(status, f)
	}
	b, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = r.Patch(ctx, made.GetName(), types.StrategicMergePatchType, b, metav1.PatchOptions{FieldManager: manager}, "status")
	return err
}

// mendNodes switches the stack's nodes on and lets pods be scheduled on them.
func mendNodes(ctx context.Context, c *cluster.Client) error {
	nodes, err := cluster.List[corev1.Node](ctx, c, cluster.Nodes, "", metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if _, ours := n.Labels[stack.TopologyKey]; !ours {
			continue
		}
		if n.Annotations[nodeagent.PowerAnnotation] == "" && n.Annotations[kwok.ManagedAnnotation] == kwok.ManagedValue && !n.Spec.Unschedulable {
			continue
		}
		b, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{nodeagent.PowerAnnotation: nil, kwok.ManagedAnnotation: kwok.ManagedValue}},
			"spec":     map[string]any{"unschedulable": nil}})
		if err != nil {
			return err
		}
		if _, err := c.Dynamic.Resource(cluster.Nodes).Patch(ctx, n.Name, types.MergePatchType, b, metav1.PatchOptions{FieldManager: manager}); err != nil {
			return err
		}
	}
	return nil
}
