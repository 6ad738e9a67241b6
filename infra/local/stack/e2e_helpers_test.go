package stack_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"fallbackchain.io/fallback/infra/local/process"
)

// recorded is a process as the supervisor and the node agent write it down.
type recorded struct {
	Name            string
	PID             int
	Start, Identity string
}

func (r recorded) identity() string { return r.Start + r.Identity }

// running reads all processes of a stack.
func running(t *testing.T, dir string) map[string]recorded {
	t.Helper()
	all := map[string]recorded{}
	for _, file := range []string{filepath.Join(dir, "processes.json"), filepath.Join(dir, "agent", "processes.json")} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var some []recorded
		if err := json.Unmarshal(data, &some); err != nil {
			t.Fatal(err)
		}
		for _, r := range some {
			if !process.Alive(r.PID, r.identity()) {
				t.Errorf("%s (process %d) is recorded and does not run", r.Name, r.PID)
			}
			all[r.Name] = r
		}
	}
	return all
}

func client(t *testing.T, kubeconfig string) dynamic.Interface {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t *testing.T, c dynamic.Interface, gvr schema.GroupVersionResource, object string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(object)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resource(gvr).Namespace("default").Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, t *testing.T, c dynamic.Interface, gvr schema.GroupVersionResource, name string) *unstructured.Unstructured {
	t.Helper()
	u, err := c.Resource(gvr).Namespace("default").Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Errorf("get %s %s: %v", gvr.Resource, name, err)
		return nil
	}
	return u
}

// awaitReady watches a pod until it is ready.
func awaitReady(ctx context.Context, t *testing.T, c dynamic.Interface, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	w, err := c.Resource(pods).Namespace("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var last any
	for e := range w.ResultChan() {
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		last = u.Object["status"]
		for _, c := range conditions {
			if m, ok := c.(map[string]any); ok && m["type"] == "Ready" && m["status"] == "True" {
				return
			}
		}
	}
	t.Fatalf("pod %s did not get ready: %v", name, last)
}
