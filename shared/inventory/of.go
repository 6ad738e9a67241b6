package inventory

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Of makes a bundle of objects in memory, which something else has verified: Verify then checks its identity, age and Kubernetes version
// only. An empty ClusterUID is unknown and verifies nothing. digest pins where the objects are from. Objects returns deep
// copies of these, in the order of dependency.
func Of(m Manifest, digest string, objects []*unstructured.Unstructured) (*Bundle, error) {
	m.APIVersion, m.Kind, m.Files = APIVersion, Kind, nil
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	m.validateSnapshots(bad)
	if m.Namespace == "" || m.StatefulSet == "" {
		bad("namespace %q, statefulSet %q: expected the workload's", m.Namespace, m.StatefulSet)
	}
	b := &Bundle{Manifest: m, Digest: digest, inMemory: true, objects: slices.Clone(objects)}
	seen := map[string]bool{}
	for _, o := range objects {
		if id := identity(o); seen[id] {
			bad("holds %s twice", id)
		} else {
			seen[id] = true
		}
	}
	Sort(b.objects)
	return b, errors.Join(errs...)
}

// Captured tells whether a capture takes in the objects of a resource at all.
func Captured(r schema.GroupResource) bool { return !slices.Contains(skipped, r) }

// Wanted tells whether a capture of the workload's namespace takes in this object of it: what controllers make from others stays out.
func Wanted(o *unstructured.Unstructured, statefulSet string) bool {
	return (&capture{o: Options{StatefulSet: statefulSet}}).wanted(o)
}

// copies are deep copies of the objects of a bundle in memory.
func (b *Bundle) copies() []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, len(b.objects))
	for i, o := range b.objects {
		out[i] = o.DeepCopy()
	}
	return out
}

// Len is how many objects the bundle has.
func (b *Bundle) Len() int {
	if b.inMemory {
		return len(b.objects)
	}
	return len(b.Files)
}
