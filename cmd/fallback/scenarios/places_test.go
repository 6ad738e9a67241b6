package scenarios

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
)

// function is a client as a function's own group. It has a user agent of its own: what is tried with it is no function's call.
func (w *world) function(t *testing.T, name string) dynamic.Interface {
	t.Helper()
	c, err := cluster.FromKubeconfig(w.Stack.Kubeconfig(), kubernetes.Group(name))
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.CopyConfig(c.Config)
	cfg.UserAgent = "scenario"
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return dyn
}

// forward asks for a connection to a pod that is not there, and returns the answer.
func (w *world) forward(t *testing.T, function, namespace string) string {
	t.Helper()
	c, err := cluster.FromKubeconfig(w.Stack.Kubeconfig(), kubernetes.Group(function))
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.CopyConfig(c.Config)
	cfg.UserAgent = "scenario"
	h, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, cfg.Host+"/api/v1/namespaces/"+namespace+"/pods/none/portforward", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestFunctionsKeepToTheirPlaces: what a function's role allows in every namespace, admission allows only where it has something to do.
func TestFunctionsKeepToTheirPlaces(t *testing.T) {
	w := theWorld
	const keepsOff, onlyLooks, noRight = "keeps its hands off", "only looks", "cannot "
	volume := func(name, namespace string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": map[string]any{"name": name},
			"spec": map[string]any{"capacity": map[string]any{"storage": "1Gi"}, "accessModes": []any{"ReadWriteOnce"}, "persistentVolumeReclaimPolicy": "Retain",
				"claimRef": map[string]any{"namespace": namespace, "name": "a"}, "csi": map[string]any{"driver": stack.DriverName, "volumeHandle": name}}}}
	}
	volumes := w.Client.Dynamic.Resource(cluster.PersistentVolumes)
	for name, namespace := range map[string]string{"places-a": sample.Namespace, "places-b": "default"} {
		if _, err := volumes.Create(t.Context(), volume(name, namespace), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := volumes.Delete(clean(t), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	object := func(kind, apiVersion, name string, labels map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "labels": labels}}}
	}
	create := func(gvr schema.GroupVersionResource, namespace string, u *unstructured.Unstructured, dry ...string) func(dynamic.Interface) error {
		return func(d dynamic.Interface) error {
			_, err := d.Resource(gvr).Namespace(namespace).Create(t.Context(), u, metav1.CreateOptions{DryRun: dry})
			return err
		}
	}
	config := func(namespace string, dry ...string) func(dynamic.Interface) error {
		return create(cluster.ConfigMaps, namespace, object("ConfigMap", "v1", "places", nil), dry...)
	}
	namespace := func(name string) func(dynamic.Interface) error {
		return create(cluster.Namespaces, "", object("Namespace", "v1", name, nil), metav1.DryRunAll)
	}
	keep := func(name string) func(dynamic.Interface) error {
		return func(d dynamic.Interface) error {
			_, err := d.Resource(cluster.PersistentVolumes).Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		}
	}
	class := func(labels map[string]any) func(dynamic.Interface) error {
		u := object("StorageClass", "storage.k8s.io/v1", "places", labels)
		u.Object["provisioner"] = stack.DriverName
		return func(d dynamic.Interface) error {
			_, err := d.Resource(cluster.StorageClasses).Create(t.Context(), u, metav1.CreateOptions{})
			if err == nil {
				err = w.Client.Dynamic.Resource(cluster.StorageClasses).Delete(t.Context(), "places", metav1.DeleteOptions{})
			}
			return err
		}
	}
	// The list itself, whoever may write in the driver's namespace, which is the same here.
	list := func(d dynamic.Interface) error {
		more := []byte(`{"metadata":{"annotations":{"` + kubernetes.Place("default") + `":"workload"}}}`)
		_, err := d.Resource(cluster.Namespaces).Patch(t.Context(), kubernetes.Places, types.MergePatchType, more, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	own := map[string]any{change.LabelRun: "places"}
	for name, tc := range map[string]struct {
		function string
		do       func(dynamic.Interface) error
		refused  string
	}{
		"a workload's namespace":                     {"restore", config(sample.Namespace, metav1.DryRunAll), ""},
		"any other namespace":                        {"restore", config("default", metav1.DryRunAll), keepsOff},
		"the leases' namespace":                      {"restore", config("fallback-chain"), keepsOff},
		"the control plane tier, the driver's":       {"controlplane", config(stack.CSIControllerNamespace, metav1.DryRunAll), ""},
		"another tier, the driver's":                 {"degraded", config(stack.CSIControllerNamespace, metav1.DryRunAll), keepsOff},
		"a note in Velero's namespace":               {"restore", config(stack.VeleroNamespace, metav1.DryRunAll), ""},
		"a secret in Velero's namespace":             {"restore", create(cluster.Secrets, stack.VeleroNamespace, object("Secret", "v1", "a", nil)), keepsOff},
		"a drill's namespace":                        {"quarantine", namespace("drill-places"), ""},
		"a workload's namespace that is gone":        {"controlplane", namespace("ledger"), ""},
		"a namespace of somebody else":               {"quarantine", namespace("places"), keepsOff},
		"the list of places, the control plane tier": {"controlplane", list, keepsOff},
		"the list of places, rollback":               {"rollback", list, keepsOff},
		"the list of places, the janitor":            {"janitor", list, keepsOff},
		"the backup function asks":                   {"backup", config(sample.Namespace, metav1.DryRunAll), ""},
		"the backup function writes":                 {"backup", config(sample.Namespace), onlyLooks},
		"a volume of the workload":                   {"rollback", keep("places-a"), ""},
		"a volume of somebody else":                  {"volumesync", keep("places-b"), keepsOff},
		"a class of a drill":                         {"restore", class(own), ""},
		"a class that no run made":                   {"restore", class(nil), keepsOff},
		"what no role allows, in the right place":    {"gate", config(sample.Namespace), noRight},
		"what no role allows, the leases of others":  {"lease", create(cluster.Leases, "default", object("Lease", "coordination.k8s.io/v1", "a", nil)), noRight},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.do(w.function(t, tc.function))
			switch {
			case tc.refused == "" && err != nil && !apierrors.IsAlreadyExists(err):
				t.Errorf("refused: %v", err)
			case tc.refused != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tc.refused)):
				t.Errorf("got %v, want a refusal that says %q", err, tc.refused)
			}
		})
	}
	// Connections to pods pass admission, too: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/.
	for namespace, want := range map[string]bool{stack.CSIControllerNamespace: true, sample.Namespace: false} {
		said := w.forward(t, "gate", namespace)
		if got := strings.Contains(said, keepsOff); got != want {
			t.Errorf("a connection to a pod of namespace %s was answered: %s", namespace, said)
		}
	}
	// Nobody else is asked anything, and the namespace with the places is always there: without it everybody would be refused.
	if err := config("default", metav1.DryRunAll)(w.Client.Dynamic); err != nil {
		t.Errorf("an administrator was refused: %v", err)
	}
	err := w.Client.Dynamic.Resource(cluster.Namespaces).Delete(t.Context(), kubernetes.Places, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	if !apierrors.IsForbidden(err) {
		t.Errorf("deleting the namespace %s: %v, want a refusal", kubernetes.Places, err)
	}
}

// TestKindsOfYourOwn: a labelled ClusterRole gives the functions that restore and remove a kind that their roles do not know.
func TestKindsOfYourOwn(t *testing.T) {
	w := theWorld
	limits := schema.GroupVersionResource{Version: "v1", Resource: "limitranges"}
	ask := func(function string) error {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "LimitRange", "metadata": map[string]any{"name": "places"}}}
		_, err := w.function(t, function).Resource(limits).Namespace(sample.Namespace).Create(t.Context(), u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	if err := ask("restore"); !apierrors.IsForbidden(err) {
		t.Fatalf("got %v before the role was there, want a refusal", err)
	}
	w.grant(t, clusterRoles, map[string]any{"kind": "ClusterRole",
		"metadata": map[string]any{"name": "places", "labels": map[string]any{"fallbackchain.io/aggregate-to-inventory": "true"}},
		"rules":    []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"limitranges"}, "verbs": []any{"create"}}}})
	t.Cleanup(func() {
		if err := w.Client.Dynamic.Resource(clusterRoles).Delete(clean(t), "places", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The API server's authorizer hears of the role after the role's watchers may have.
	ok, err := w.Client.WaitFor(ctx, 100*time.Millisecond, []cluster.Source{{GVR: clusterRoles}}, func(context.Context) (bool, error) {
		err := ask("restore")
		if apierrors.IsForbidden(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil || !ok {
		t.Errorf("restore may not create the kind: %v, %v", err, ask("restore"))
	}
	if err := ask("gate"); !apierrors.IsForbidden(err) {
		t.Errorf("gate got %v, want a refusal", err)
	}
}
