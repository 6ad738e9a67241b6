package inventory

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// fakeCluster answers from objects in memory, as an API server would.
type fakeCluster struct {
	objects   map[string]*unstructured.Unstructured // "resource.group namespace/name"
	resources map[schema.GroupVersionResource]string
	// fails by "list resource.group" or "get resource.group name".
	fails map[string]error
}

func key(gvr schema.GroupVersionResource, namespace, name string) string {
	return gvr.GroupResource().String() + " " + namespace + "/" + name
}

func (f *fakeCluster) Version(context.Context) (string, error) {
	return "v1.36.3", f.fails["version"]
}

func (f *fakeCluster) Resources(context.Context) ([]Resource, error) {
	var out []Resource
	for gvr, kind := range f.resources {
		if !clusterScoped[kind] {
			out = append(out, Resource{gvr, kind})
		}
	}
	slices.SortFunc(out, func(a, b Resource) int { return strings.Compare(a.GVR.String(), b.GVR.String()) })
	return out, f.fails["resources"]
}

func (f *fakeCluster) List(_ context.Context, gvr schema.GroupVersionResource, namespace string) ([]unstructured.Unstructured, error) {
	if err := f.fails["list "+gvr.GroupResource().String()]; err != nil {
		return nil, err
	}
	if _, served := f.resources[gvr]; !served {
		return nil, apierrors.NewNotFound(gvr.GroupResource(), "")
	}
	var out []unstructured.Unstructured
	for _, k := range slices.Sorted(maps.Keys(f.objects)) {
		if strings.HasPrefix(k, gvr.GroupResource().String()+" "+namespace+"/") {
			o := f.objects[k].DeepCopy()
			delete(o.Object, "kind") // as items of lists come
			delete(o.Object, "apiVersion")
			out = append(out, *o)
		}
	}
	return out, nil
}

func (f *fakeCluster) Get(_ context.Context, gvr schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	if err := f.fails["get "+gvr.GroupResource().String()+" "+name]; err != nil {
		return nil, err
	}
	o, ok := f.objects[key(gvr, namespace, name)]
	if !ok {
		return nil, apierrors.NewNotFound(gvr.GroupResource(), name)
	}
	return o.DeepCopy(), nil
}

var clusterScoped = map[string]bool{"Namespace": true, "StorageClass": true, "CSIDriver": true, "VolumeSnapshotClass": true,
	"VolumeSnapshotContent": true, "PriorityClass": true, "CustomResourceDefinition": true}

// newFake reads objects from a YAML text of several documents.
func newFake(t testing.TB, text string) *fakeCluster {
	t.Helper()
	f := &fakeCluster{objects: map[string]*unstructured.Unstructured{}, resources: map[schema.GroupVersionResource]string{}, fails: map[string]error{}}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		j, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if err := o.UnmarshalJSON(j); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		gvk := o.GroupVersionKind()
		resource := strings.ToLower(gvk.Kind) + "s"
		switch {
		case strings.HasSuffix(gvk.Kind, "y"):
			resource = strings.TrimSuffix(resource, "ys") + "ies"
		case strings.HasSuffix(gvk.Kind, "s"):
			resource = strings.ToLower(gvk.Kind) + "es"
			if gvk.Kind == "Endpoints" {
				resource = "endpoints"
			}
		}
		gvr := gvk.GroupVersion().WithResource(resource)
		f.resources[gvr] = gvk.Kind
		f.objects[key(gvr, o.GetNamespace(), o.GetName())] = o
	}
	return f
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }
