package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
)

// Options say what is captured.
type Options struct {
	Namespace   string
	StatefulSet string
	// Controller is the Deployment of the CSI driver's controller; empty when the plan does not name it.
	Controller types.NamespacedName
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Capture reads the workload's namespace and what it needs of the rest of the cluster, and writes a bundle to dir, which
// it replaces as a whole or not at all. It only reads the cluster. What it may not read is an error, never left out.
func Capture(ctx context.Context, r Reader, o Options, dir string) (*Manifest, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &capture{ctx: ctx, r: r, o: o, seen: map[string]bool{}}
	m, err := c.all()
	if err != nil {
		return nil, fmt.Errorf("capture of namespace %s: %w", o.Namespace, err)
	}
	if err := write(dir, m, c.objects); err != nil {
		return nil, fmt.Errorf("capture of namespace %s: %w", o.Namespace, err)
	}
	return m, nil
}

type capture struct {
	ctx     context.Context
	r       Reader
	o       Options
	objects []*unstructured.Unstructured
	seen    map[string]bool
}

func (c *capture) all() (*Manifest, error) {
	m := &Manifest{APIVersion: APIVersion, Kind: Kind, Namespace: c.o.Namespace, StatefulSet: c.o.StatefulSet,
		CapturedAt: c.o.Now().UTC().Truncate(time.Second)}
	system, err := c.r.Get(c.ctx, cluster.Namespaces, "", metav1.NamespaceSystem)
	if err != nil {
		return nil, fmt.Errorf("the cluster's identity (namespace kube-system): %w", err)
	}
	if m.ClusterUID = string(system.GetUID()); m.ClusterUID == "" {
		return nil, errors.New("the cluster's identity: namespace kube-system has no UID")
	}
	if m.KubernetesVersion, err = c.r.Version(c.ctx); err != nil {
		return nil, fmt.Errorf("the cluster's version: %w", err)
	}
	if err := c.namespace(); err != nil {
		return nil, err
	}
	if err := c.clusterObjects(); err != nil {
		return nil, err
	}
	if err := c.controller(); err != nil {
		return nil, err
	}
	if m.Snapshots, err = c.snapshots(); err != nil {
		return nil, err
	}
	Sort(c.objects)
	return m, nil
}

// add strips an object and keeps it once.
func (c *capture) add(o *unstructured.Unstructured) {
	if id := identity(o); !c.seen[id] {
		c.seen[id] = true
		o = o.DeepCopy()
		Strip(o)
		c.objects = append(c.objects, o)
	}
}

// skipped resources are made by controllers from others, belong to one moment, or are recorded otherwise (snapshots, in
// bundle.json).
var skipped = []schema.GroupResource{
	{Resource: "pods"}, {Resource: "endpoints"}, {Resource: "events"}, {Resource: "bindings"},
	{Group: "events.k8s.io", Resource: "events"},
	{Group: "discovery.k8s.io", Resource: "endpointslices"},
	{Group: "apps", Resource: "controllerrevisions"},
	{Group: "coordination.k8s.io", Resource: "leases"},
	{Group: "coordination.k8s.io", Resource: "leasecandidates"},
	{Group: "storage.k8s.io", Resource: "csistoragecapacities"},
	{Group: "snapshot.storage.k8s.io", Resource: "volumesnapshots"},
	{Group: "metrics.k8s.io", Resource: "pods"},
}

// namespace reads the Namespace and everything in it.
func (c *capture) namespace() error {
	ns, err := c.r.Get(c.ctx, cluster.Namespaces, "", c.o.Namespace)
	if err != nil {
		return err
	}
	if ns.GetDeletionTimestamp() != nil {
		return errors.New("the namespace is being deleted; what is left of it is no inventory")
	}
	c.add(ns)
	resources, err := c.r.Resources(c.ctx)
	if err != nil {
		return err
	}
	for _, res := range resources {
		if slices.Contains(skipped, res.GVR.GroupResource()) {
			continue
		}
		items, err := c.r.List(c.ctx, res.GVR, c.o.Namespace)
		switch {
		case apierrors.IsMethodNotSupported(err), apierrors.IsNotFound(err):
			continue // discovery is a moment old
		case err != nil:
			return fmt.Errorf("list %s: %w", res.GVR.GroupResource(), err)
		}
		custom := false
		for i := range items {
			// The API server leaves kind and apiVersion out of some lists' items.
			items[i].SetGroupVersionKind(res.GVR.GroupVersion().WithKind(res.Kind))
			if c.wanted(&items[i]) {
				c.add(&items[i])
				custom = custom || rank(items[i].GroupVersionKind().GroupKind()) == rankOther
			}
		}
		if custom {
			if err := c.definition(res.GVR); err != nil {
				return err
			}
		}
	}
	if !c.seen[identityOf("StatefulSet.apps", c.o.Namespace, c.o.StatefulSet)] {
		return fmt.Errorf("there is no StatefulSet %s; a bundle without it would be no inventory", c.o.StatefulSet)
	}
	return nil
}

func identityOf(groupKind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return groupKind + " " + name
}

// wanted tells whether an object of the namespace belongs into the bundle.
func (c *capture) wanted(o *unstructured.Unstructured) bool {
	if o.GetDeletionTimestamp() != nil {
		return false
	}
	kind := o.GroupVersionKind().GroupKind().String()
	switch kind {
	case "StatefulSet.apps":
		if o.GetName() == c.o.StatefulSet {
			return true
		}
	case "ServiceAccount":
		if o.GetName() == "default" {
			return false
		}
	case "ConfigMap":
		return o.GetName() != "kube-root-ca.crt" && o.GetName() != "openshift-service-ca.crt"
	case "Secret":
		// Kept also when a controller owns it: in a drill that controller does not run.
		t, _, _ := unstructured.NestedString(o.Object, "type")
		return t != "kubernetes.io/service-account-token"
	case "PersistentVolumeClaim":
		return true // the StatefulSet controller owns those it may delete
	case "NetworkPolicy.networking.k8s.io":
		// A quarantine that a run left is not the application's; other objects that a run applied are, and lose its labels.
		if o.GetLabels()[managedByLabel] == managedBy {
			return false
		}
	case "Job.batch":
		if finished(o) {
			return false // restoring it would run it again
		}
	}
	return metav1.GetControllerOf(o) == nil
}

// finished tells whether a Job has ended (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/).
func finished(job *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(job.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, _ := c.(map[string]any)
		return (m["type"] == "Complete" || m["type"] == "Failed") && m["status"] == "True"
	})
}
