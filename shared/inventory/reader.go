package inventory

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/cluster/served"
)

// Resource is a namespaced resource that the API server can list.
type Resource struct {
	GVR  schema.GroupVersionResource
	Kind string
}

// Reader is what Capture needs of a cluster. Errors of Get and List are the API server's own.
type Reader interface {
	// Resources lists the namespaced resources in the server's preferred versions.
	Resources(ctx context.Context) ([]Resource, error)
	// List reads all objects of a resource in a namespace.
	List(ctx context.Context, gvr schema.GroupVersionResource, namespace string) ([]unstructured.Unstructured, error)
	// Get reads one object; the namespace is empty for cluster-scoped ones.
	Get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error)
	// Version is the server's version, e.g. "v1.36.3".
	Version(ctx context.Context) (string, error)
}

// NewReader reads through a cluster client.
func NewReader(c *cluster.Client) Reader { return clusterReader{c} }

type clusterReader struct{ c *cluster.Client }

func (r clusterReader) Version(ctx context.Context) (string, error) {
	v, err := r.c.Version(ctx)
	return v.GitVersion, err
}

func (r clusterReader) Get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	return r.c.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// page is how many objects one list request asks for.
const page = 250

func (r clusterReader) List(ctx context.Context, gvr schema.GroupVersionResource, namespace string) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	o := metav1.ListOptions{Limit: page}
	for {
		l, err := r.c.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, o)
		if err != nil {
			return nil, err
		}
		out = append(out, l.Items...)
		if o.Continue = l.GetContinue(); o.Continue == "" {
			return out, nil
		}
	}
}

// Resources fails when a group cannot be discovered: what cannot be seen would silently be missing from the bundle. Only
// metrics groups, which hold no objects, may fail.
func (r clusterReader) Resources(ctx context.Context) ([]Resource, error) {
	groups, err := r.c.Discovery.Groups(ctx)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	all, unknown := served.Namespaced(groups)
	for _, v := range unknown {
		if !strings.HasSuffix(v.Group, "metrics.k8s.io") {
			return nil, fmt.Errorf("API group %s cannot be discovered, so that its objects would be missing: %w", v.GroupVersion, v.Err)
		}
	}
	var out []Resource
	for _, res := range all {
		if res.Can("list", "create") {
			out = append(out, Resource{GVR: res.GroupVersionResource, Kind: res.Kind})
		}
	}
	return out, nil
}
