package cluster

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/fault"
)

// Resources that functions read and change. A kind that is not here is mapped by the server's discovery.
var (
	Namespaces             = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	Nodes                  = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	Pods                   = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	Events                 = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	Secrets                = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	ConfigMaps             = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	Services               = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	PersistentVolumes      = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
	PersistentVolumeClaims = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	StatefulSets           = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	Deployments            = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	HPAs                   = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	NetworkPolicies        = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
	StorageClasses         = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}
	CSIDrivers             = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "csidrivers"}
	CSINodes               = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "csinodes"}
	VolumeAttachments      = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "volumeattachments"}
	Leases                 = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	VolumeSnapshots        = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}
	VolumeSnapshotContents = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotcontents"}
	VolumeSnapshotClasses  = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotclasses"}
)

// Decode turns what the dynamic client returns into a k8s.io/api struct.
func Decode[T any](u *unstructured.Unstructured) (*T, error) {
	var t T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &t); err != nil {
		// Asking again would not help: this program does not understand what the server has.
		return nil, fault.New(fault.Internal, fmt.Sprintf("decode %s %s/%s", u.GetKind(), u.GetNamespace(), u.GetName()), err)
	}
	return &t, nil
}

// Get reads one object. Errors are the API server's own (apierrors.IsNotFound works); Fault classifies them.
func Get[T any](ctx context.Context, c *Client, gvr schema.GroupVersionResource, namespace, name string) (*T, error) {
	u, err := c.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return Decode[T](u)
}

// listPage is how many objects one list request asks for.
const listPage = 500

// List reads all objects of a resource in a namespace ("" for all), page by page.
func List[T any](ctx context.Context, c *Client, gvr schema.GroupVersionResource, namespace string, o metav1.ListOptions) ([]T, error) {
	var out []T
	if o.Limit == 0 {
		o.Limit = listPage
	}
	for {
		l, err := c.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, o)
		if err != nil {
			return nil, err
		}
		for i := range l.Items {
			t, err := Decode[T](&l.Items[i])
			if err != nil {
				return nil, err
			}
			out = append(out, *t)
		}
		if o.Continue = l.GetContinue(); o.Continue == "" {
			return out, nil
		}
	}
}
