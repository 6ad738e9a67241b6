package production

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/cluster/served"
	"fallbackchain.io/fallback/shared/fault"
)

func object(kind, namespace, name, uid, version string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": kind,
		"metadata": map[string]any{"namespace": namespace, "name": name, "uid": uid, "resourceVersion": version}}}
	if kind == "Lease" {
		u.SetAPIVersion("coordination.k8s.io/v1")
	}
	return u
}

// discovery is what the API server says that it serves.
type discovery []served.Group

func (d discovery) Groups(context.Context) ([]served.Group, error) { return d, nil }

func fakeCluster(objects ...runtime.Object) (*cluster.Client, *fake.FakeDynamicClient) {
	resource := func(gvr schema.GroupVersionResource, kind string, namespaced bool, verbs ...string) served.Resource {
		return served.Resource{GroupVersionResource: gvr, Kind: kind, Namespaced: namespaced, Verbs: verbs}
	}
	core, leases := schema.GroupVersion{Version: "v1"}, cluster.Leases.GroupVersion()
	d := discovery{
		{Versions: []served.Version{{GroupVersion: core, Resources: []served.Resource{
			resource(cluster.ConfigMaps, "ConfigMap", true, "get", "list"), resource(cluster.Pods, "Pod", true, "get", "list"),
			resource(core.WithResource("bindings"), "Binding", true, "create"), resource(cluster.Events, "Event", true, "get", "list"),
			resource(cluster.Nodes, "Node", false, "get", "list")}}}},
		{Name: leases.Group, Versions: []served.Version{{GroupVersion: leases, Resources: []served.Resource{resource(cluster.Leases, "Lease", true, "get", "list")}}}},
	}
	f := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		cluster.ConfigMaps: "ConfigMapList", cluster.Pods: "PodList", cluster.Events: "EventList", cluster.Leases: "LeaseList", cluster.Nodes: "NodeList"}, objects...)
	return &cluster.Client{Dynamic: f, Discovery: d}, f
}

func TestRead(t *testing.T) {
	c, _ := fakeCluster(object("ConfigMap", "shop", "a", "1", "10"), object("Pod", "shop", "pg-0", "2", "11"),
		object("Event", "shop", "noise", "3", "12"), object("Lease", "shop", "noise", "4", "13"), object("ConfigMap", "other", "b", "5", "14"))
	got, err := Read(t.Context(), c, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Versions{"ConfigMap/shop/a": "1/10", "Pod/shop/pg-0": "2/11"}, got); d != "" {
		t.Error(d)
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	c, f := fakeCluster(object("ConfigMap", "shop", "a", "1", "10"))
	f.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(cluster.Pods.GroupResource(), "", errors.New("no"))
	})
	if _, err := Read(t.Context(), c, "shop"); fault.From(err).Code != fault.PermissionDenied {
		t.Errorf("%v", err)
	}
}

// TestWhatCannotBeDiscoveredIsAnError: the objects of a group whose server is away would not be seen.
func TestWhatCannotBeDiscoveredIsAnError(t *testing.T) {
	c, _ := fakeCluster()
	away := schema.GroupVersion{Group: "example.com", Version: "v1"}
	c.Discovery = append(c.Discovery.(discovery), served.Group{Name: away.Group, Versions: []served.Version{{GroupVersion: away, Err: errors.New("stale")}}})
	if _, err := Read(t.Context(), c, "shop"); fault.From(err).Code != fault.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestDigestAndDiff(t *testing.T) {
	base := Versions{"a": "1/1", "b": "2/1"}
	for _, tc := range []struct {
		name  string
		after Versions
		want  []string
	}{
		{"nothing", Versions{"b": "2/1", "a": "1/1"}, nil},
		{"changed", Versions{"a": "1/2", "b": "2/1"}, []string{"a: changed from 1/1 to 1/2"}},
		{"replaced", Versions{"a": "9/1", "b": "2/1"}, []string{"a: changed from 1/1 to 9/1"}},
		{"gone and made", Versions{"a": "1/1", "c": "3/1"}, []string{"b: gone", "c: made"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, Diff(base, tc.after)); d != "" {
				t.Error(d)
			}
			if same := base.Digest() == tc.after.Digest(); same != (tc.want == nil) {
				t.Errorf("the digests are the same: %v", same)
			}
		})
	}
}
