package stack

import (
	"context"
	"encoding/json"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/kwok"
)

// installCRDs applies the resource definitions and waits until they are served.
func (s *Stack) installCRDs(ctx context.Context) error {
	crds, err := decodeFiles(s.layout.crds())
	if err != nil {
		return err
	}
	return parallel(ctx, len(crds), func(ctx context.Context, i int) error {
		if _, err := apply(ctx, s.dyn, crds[i]); err != nil {
			return err
		}
		return await(ctx, resource(s.dyn, crds[i]), byName(crds[i].GetName()), condition("Established"))
	})
}

// installObjects applies the simulation's stages, the storage objects and the nodes.
func (s *Stack) installObjects(ctx context.Context) error {
	var all []*unstructured.Unstructured
	for _, docs := range [][]byte{kwok.Stages(), objects} {
		objs, err := decode(docs)
		if err != nil {
			return err
		}
		all = append(all, objs...)
	}
	return parallel(ctx, len(all)+s.record.Nodes, func(ctx context.Context, i int) error {
		if i < len(all) {
			_, err := apply(ctx, s.dyn, all[i])
			return err
		}
		return s.installNode(ctx, i-len(all))
	})
}

// installRights applies what infra/kubernetes gives an operator's cluster: the functions connect with rights of their own here too.
func (s *Stack) installRights(ctx context.Context) error {
	docs, err := kubernetes.Documents()
	if err != nil {
		return err
	}
	if _, err := apply(ctx, s.dyn, places()); err != nil {
		return err
	}
	return parallel(ctx, len(docs), func(ctx context.Context, i int) error {
		objs, err := decode(docs[i])
		if err != nil {
			return err
		}
		for _, o := range objs {
			if _, err := apply(ctx, s.dyn, o); err != nil {
				return err
			}
		}
		return nil
	})
}

// places are where the functions may change things here: the namespaces of the samples and of what the stack brings.
func places() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
		"name": kubernetes.Places, "annotations": map[string]any{
			kubernetes.Place("shop"): "workload", kubernetes.Place("ledger"): "workload", kubernetes.Place(CSIControllerNamespace): "driver"},
	}}}
}

// installNode registers a simulated node as its kubelet would: the node, what it has and where its kubelet listens, and the CSI
// driver on it.
func (s *Stack) installNode(ctx context.Context, i int) error {
	u, err := toUnstructured(kwok.Node(i, TopologyKey))
	if err != nil {
		return err
	}
	node, err := apply(ctx, s.dyn, u)
	if err != nil {
		return err
	}
	status, err := json.Marshal(map[string]any{"status": kwok.Status(s.version, s.record.Ports[portKwok])})
	if err != nil {
		return err
	}
	nodes := s.dyn.Resource(v1("", "nodes"))
	if _, err := nodes.Patch(ctx, node.GetName(), types.StrategicMergePatchType, status, metav1.PatchOptions{FieldManager: manager}, "status"); err != nil {
		return err
	}
	csi, err := toUnstructured(kwok.CSINode(i, node.GetUID(), DriverName, TopologyKey))
	if err != nil {
		return err
	}
	_, err = apply(ctx, s.dyn, csi)
	return err
}

// awaitReady waits for the nodes and for the CSI controller: its pod, as the Deployment may still tell of an earlier start, and
// then the Deployment.
func (s *Stack) awaitReady(ctx context.Context) error {
	nodes := s.dyn.Resource(v1("", "nodes"))
	err := parallel(ctx, s.record.Nodes, func(ctx context.Context, i int) error {
		return await(ctx, nodes, byName(kwok.NodeName(i)), condition("Ready"))
	})
	if err != nil {
		return err
	}
	pods := s.dyn.Resource(v1("", "pods")).Namespace(CSIControllerNamespace)
	err = await(ctx, pods, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + CSIController}, func(u *unstructured.Unstructured) (bool, string) {
		if u.GetDeletionTimestamp() != nil {
			return false, "it is being deleted"
		}
		if u.GetAnnotations()[kwok.ReadyAnnotation] != "true" {
			return false, "its processes do not answer"
		}
		return condition("Ready")(u)
	})
	if err != nil {
		return err
	}
	d := s.dyn.Resource(v1("apps", "deployments")).Namespace(CSIControllerNamespace)
	return await(ctx, d, byName(CSIController), condition("Available"))
}

// parallel calls do for 0..n-1 at once and returns the first error, having ended the others.
func parallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for i := range n {
		wg.Go(func() {
			if err := do(ctx, i); err != nil {
				once.Do(func() { first = err; cancel(err) })
			}
		})
	}
	wg.Wait()
	return first
}
