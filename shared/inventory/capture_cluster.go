package inventory

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
)

var (
	definitions     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	priorityClasses = schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// optional reads an object that need not exist; found is false when it, or its whole API, does not.
func (c *capture) optional(gvr schema.GroupVersionResource, kind, name string) (o *unstructured.Unstructured, found bool, err error) {
	o, err = c.r.Get(c.ctx, gvr, "", name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return o, true, nil
}

// definition adds the CustomResourceDefinition of a resource. An aggregated API has none.
func (c *capture) definition(gvr schema.GroupVersionResource) error {
	o, found, err := c.optional(definitions, "CustomResourceDefinition", gvr.Resource+"."+gvr.Group)
	if found {
		c.add(o)
	}
	return err
}

// clusterObjects adds the StorageClasses of the claims, their CSIDrivers and VolumeSnapshotClasses, and the
// PriorityClasses of the workloads' pods.
func (c *capture) clusterObjects() error {
	classes, priorities := c.used()
	drivers := []string{}
	for _, name := range classes {
		o, found, err := c.optional(cluster.StorageClasses, "StorageClass", name)
		if err != nil {
			return err
		}
		if !found {
			continue // a claim may name a class that is gone, or one that never was (static volumes)
		}
		c.add(o)
		provisioner, _, _ := unstructured.NestedString(o.Object, "provisioner")
		driver, found, err := c.optional(cluster.CSIDrivers, "CSIDriver", provisioner)
		if err != nil {
			return err
		}
		if found {
			c.add(driver)
		}
		drivers = append(drivers, provisioner)
	}
	for _, name := range priorities {
		if strings.HasPrefix(name, "system-") {
			continue // every cluster has them
		}
		o, found, err := c.optional(priorityClasses, "PriorityClass", name)
		if err != nil {
			return err
		}
		if found {
			c.add(o)
		}
	}
	return c.snapshotClasses(drivers)
}

func (c *capture) snapshotClasses(drivers []string) error {
	items, err := c.r.List(c.ctx, cluster.VolumeSnapshotClasses, "")
	if apierrors.IsNotFound(err) {
		return nil // the cluster has no snapshots
	}
	if err != nil {
		return fmt.Errorf("list VolumeSnapshotClasses: %w", err)
	}
	for i := range items {
		driver, _, _ := unstructured.NestedString(items[i].Object, "driver")
		if slices.Contains(drivers, driver) {
			items[i].SetGroupVersionKind(cluster.VolumeSnapshotClasses.GroupVersion().WithKind("VolumeSnapshotClass"))
			c.add(&items[i])
		}
	}
	return nil
}

// used lists, sorted, the storage classes and priority classes that the captured objects name.
func (c *capture) used() (classes, priorities []string) {
	for _, o := range c.objects {
		if name, ok, _ := unstructured.NestedString(o.Object, "spec", "storageClassName"); ok && o.GetKind() == "PersistentVolumeClaim" {
			classes = append(classes, name)
		}
		if name, ok, _ := unstructured.NestedString(o.Object, "spec", "template", "spec", "priorityClassName"); ok {
			priorities = append(priorities, name)
		}
		templates, _, _ := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates")
		for _, t := range templates {
			m, _ := t.(map[string]any)
			if name, ok, _ := unstructured.NestedString(m, "spec", "storageClassName"); ok {
				classes = append(classes, name)
			}
		}
	}
	return unique(classes), unique(priorities)
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(s string) bool { return s == "" })
}

// controller adds the CSI controller's Deployment and its ServiceAccount.
func (c *capture) controller() error {
	at := c.o.Controller
	if at == (types.NamespacedName{}) {
		return nil
	}
	d, err := c.r.Get(c.ctx, cluster.Deployments, at.Namespace, at.Name)
	if err != nil {
		return fmt.Errorf("the CSI driver's controller, Deployment %s: %w", at, err)
	}
	c.add(d)
	account, _, _ := unstructured.NestedString(d.Object, "spec", "template", "spec", "serviceAccountName")
	if account == "" || account == "default" {
		return nil
	}
	sa, err := c.r.Get(c.ctx, serviceAccounts, at.Namespace, account)
	if err != nil {
		return fmt.Errorf("the CSI driver's controller, ServiceAccount %s/%s: %w", at.Namespace, account, err)
	}
	c.add(sa)
	return nil
}
