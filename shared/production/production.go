// Package production proves that a drill left production alone: it reads the resourceVersion of every object in a namespace,
// before and after, and digests them. An object that was changed, made, deleted or replaced in between changes the digest.
package production

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sort"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/cluster/served"
)

// Versions maps "kind.group/namespace/name" to "uid/resourceVersion".
type Versions map[string]string

// churning are the resources that change while nobody changes anything: records of the moment, heartbeats, addresses of pods and
// measured values.
var churning = []schema.GroupResource{
	{Resource: "events"},
	{Group: "events.k8s.io", Resource: "events"},
	{Group: "coordination.k8s.io", Resource: "leases"},
	{Resource: "endpoints"},
	{Group: "discovery.k8s.io", Resource: "endpointslices"},
	{Group: "storage.k8s.io", Resource: "csistoragecapacities"},
	{Group: "metrics.k8s.io", Resource: "pods"},
}

// page is how many objects one request asks for.
const page = 500

// Read lists everything in a namespace that is not expected to change by itself. Every resource that the API server offers for
// listing must be readable: what could not be read could not be proved, so it is an error.
func Read(ctx context.Context, c *cluster.Client, namespace string) (Versions, error) {
	all, err := Resources(ctx, c)
	if err != nil {
		return nil, err
	}
	out := Versions{}
	for _, gvr := range all {
		if err := read(ctx, c, gvr, namespace, out); err != nil {
			return nil, cluster.Fault(fmt.Sprintf("list %s in namespace %s", gvr.GroupResource(), namespace), err)
		}
	}
	return out, nil
}

// Resources are those that Read lists, in a stable order: those that can be listed and do not churn. One that could not be discovered
// could not be proved either, so it is an error.
func Resources(ctx context.Context, c *cluster.Client) ([]schema.GroupVersionResource, error) {
	groups, err := c.Discovery.Groups(ctx)
	if err != nil {
		return nil, cluster.Fault("discover the resources that have a namespace", err)
	}
	all, unknown := served.Namespaced(groups)
	if len(unknown) > 0 {
		return nil, cluster.Fault(fmt.Sprintf("discover the resources of %s", unknown[0].GroupVersion), unknown[0].Err)
	}
	var out []schema.GroupVersionResource
	for _, r := range all {
		if r.Can("list") && !slices.Contains(churning, r.GroupResource()) {
			out = append(out, r.GroupVersionResource)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out, nil
}

func read(ctx context.Context, c *cluster.Client, gvr schema.GroupVersionResource, namespace string, out Versions) error {
	o := metav1.ListOptions{Limit: page}
	for {
		l, err := c.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, o)
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			return nil // the resource went away since discovery: there is nothing of it
		}
		if err != nil {
			return err
		}
		for _, i := range l.Items {
			kind := schema.GroupKind{Group: gvr.Group, Kind: i.GetKind()}
			out[fmt.Sprintf("%s/%s/%s", kind, i.GetNamespace(), i.GetName())] = string(i.GetUID()) + "/" + i.GetResourceVersion()
		}
		if o.Continue = l.GetContinue(); o.Continue == "" {
			return nil
		}
	}
}

// Digest is "sha256:<hex>" over all names and versions, in the order of the names.
func (v Versions) Digest() string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(v)) {
		fmt.Fprintf(h, "%s\x00%s\n", k, v[k])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Diff names what differs between two readings, sorted: "kind/namespace/name: changed | made | gone".
func Diff(before, after Versions) []string {
	var out []string
	for k, was := range before {
		switch is, ok := after[k]; {
		case !ok:
			out = append(out, k+": gone")
		case is != was:
			out = append(out, fmt.Sprintf("%s: changed from %s to %s", k, was, is))
		}
	}
	for k := range after {
		if _, ok := before[k]; !ok {
			out = append(out, k+": made")
		}
	}
	slices.Sort(out)
	return out
}
