package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/fault"
)

func TestReadyz(t *testing.T) {
	for name, tc := range map[string]struct {
		code   int
		body   string
		ready  bool
		failed []string
		err    bool
	}{
		"ready":        {http.StatusOK, "[+]ping ok\n[+]etcd ok\nreadyz check passed\n", true, nil, false},
		"etcd is away": {http.StatusInternalServerError, "[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/x failed: y\n", false, []string{"etcd", "poststarthook/x"}, false},
		"refused":      {http.StatusForbidden, "no", false, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RequestURI() != "/readyz?verbose" {
					t.Errorf("asked for %s", r.URL.RequestURI())
				}
				w.WriteHeader(tc.code)
				_, _ = w.Write([]byte(tc.body))
			}))
			defer srv.Close()
			c, err := New(&rest.Config{Host: srv.URL})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Readyz(context.Background())
			if (err != nil) != tc.err || got.Ready != tc.ready || !slices.Equal(got.Failed, tc.failed) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestFaultClassifies(t *testing.T) {
	gr := schema.GroupResource{Resource: "pods"}
	for name, tc := range map[string]struct {
		err  error
		want fault.Code
	}{
		"not found":          {apierrors.NewNotFound(gr, "x"), fault.ObjectsMissing},
		"forbidden":          {apierrors.NewForbidden(gr, "x", errors.New("rbac")), fault.PermissionDenied},
		"unauthorized":       {apierrors.NewUnauthorized("no"), fault.Unauthorized},
		"conflict":           {apierrors.NewConflict(gr, "x", errors.New("rv")), fault.Conflict},
		"throttled":          {apierrors.NewTooManyRequests("slow", 1), fault.Throttled},
		"server error":       {apierrors.NewInternalError(errors.New("etcd")), fault.Unavailable},
		"connection refused": {errors.New("dial tcp: connection refused"), fault.Unavailable},
		"deadline":           {context.DeadlineExceeded, fault.Unavailable},
		"a fault stays":      {fault.New(fault.LeaseLost, "x", nil), fault.LeaseLost},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fault.From(Fault("op", tc.err)).Code; got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
	if Fault("op", nil) != nil {
		t.Error("nil became a fault")
	}
}

func pod(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "shop"}}}
}

func fakeClient(objs ...runtime.Object) (*Client, *fake.FakeDynamicClient) {
	f := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{Pods: "PodList"}, objs...)
	return &Client{Dynamic: f}, f
}

func TestWaitForSeesAChange(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, f := fakeClient()
	asked := 0
	ok, err := c.WaitFor(ctx, 0, []Source{{GVR: Pods, Namespace: "shop"}}, func(ctx context.Context) (bool, error) {
		asked++
		if asked == 1 {
			// The change comes after the first look: only the watch can tell.
			if _, err := f.Resource(Pods).Namespace("shop").Create(ctx, pod("pg-0"), metav1.CreateOptions{}); err != nil {
				return false, err
			}
			return false, nil
		}
		ps, err := List[corev1.Pod](ctx, c, Pods, "shop", metav1.ListOptions{})
		return len(ps) == 1, err
	})
	if !ok || err != nil {
		t.Fatalf("ok %v, err %v", ok, err)
	}
}

func TestWaitForGoesOnAfterTheWatchBreaks(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, f := fakeClient()
	watches := 0
	f.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) {
		watches++
		if watches == 1 {
			return true, nil, errors.New("dial tcp 127.0.0.1:1: connect: connection refused")
		}
		w := watch.NewFake()
		w.Stop() // ends at once, as a server that closes its watches
		return true, w, nil
	})
	asked := 0
	ok, err := c.WaitFor(ctx, 0, []Source{{GVR: Pods}}, func(context.Context) (bool, error) {
		asked++
		return asked == 3, nil
	})
	if !ok || err != nil || watches < 3 {
		t.Fatalf("ok %v, err %v, %d watches", ok, err, watches)
	}
}

func TestWaitForEnds(t *testing.T) {
	c, _ := fakeClient()
	sources := []Source{{GVR: Pods}}
	t.Run("with the error of what is final", func(t *testing.T) {
		final := fault.New(fault.PermissionDenied, "list pods", nil)
		ok, err := c.WaitFor(context.Background(), 0, sources, func(context.Context) (bool, error) { return false, final })
		if ok || !errors.Is(err, final) {
			t.Fatalf("ok %v, err %v", ok, err)
		}
	})
	t.Run("without an error when its time is over", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		ok, err := c.WaitFor(ctx, 0, sources, func(context.Context) (bool, error) { cancel(); return false, nil })
		if ok || err != nil {
			t.Fatalf("ok %v, err %v", ok, err)
		}
	})
}

func TestListReadsEveryPage(t *testing.T) {
	c, f := fakeClient()
	pages := map[string][]string{"": {"a", "b"}, "next": {"c"}}
	f.PrependReactor("list", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		l := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "PodList"}}
		token := a.(clienttesting.ListActionImpl).ListOptions.Continue
		for _, n := range pages[token] {
			l.Items = append(l.Items, *pod(n))
		}
		if token == "" {
			l.SetContinue("next")
		}
		return true, l, nil
	})
	got, err := List[corev1.Pod](context.Background(), c, Pods, "shop", metav1.ListOptions{})
	if err != nil || len(got) != 3 {
		t.Fatalf("%d pods, %v", len(got), err)
	}
}
