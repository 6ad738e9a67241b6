package scale

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/velero"
)

//go:embed testdata/big.yaml
var bigYAML []byte

//go:embed testdata/plan.yaml
var planYAML string

func writePlan(dir string, s *stack.Stack) (string, error) {
	b := s.Backups()
	path := filepath.Join(dir, "plan.yaml")
	return path, os.WriteFile(path, []byte(strings.NewReplacer("{{kubeconfig}}", s.Kubeconfig(), "{{location}}", b.Location(), "{{region}}", b.Region,
		"{{endpoint}}", b.Endpoint, "{{credentials}}", b.CredentialsFile, "{{key}}", b.SigningKey).Replace(planYAML)), 0o600)
}

// deploy makes a workload of one PostgreSQL server in a namespace with 200 claims and 5,000 objects, and seeds it.
func deploy(t *testing.T) {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", bed.Stack.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 1000, 1000
	fast, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(bigYAML)))
	for {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		u := &unstructured.Unstructured{}
		if err == nil {
			err = utilyaml.Unmarshal(doc, &u.Object)
		}
		if err != nil {
			t.Fatal(err)
		}
		gvk := u.GroupVersionKind()
		m, err := bed.Client.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			t.Fatal(err)
		}
		create(t, fast, m.Resource, u)
	}
	work := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range work {
				if i < claims-1 {
					create(t, fast, cluster.PersistentVolumeClaims, claim(i))
				}
				gvr, u := object(i)
				create(t, fast, gvr, u)
			}
		})
	}
	for i := range objects {
		work <- i
	}
	close(work)
	wg.Wait()
	ready(t)
	seed(t)
}

func create(t *testing.T, d dynamic.Interface, gvr schema.GroupVersionResource, u *unstructured.Unstructured) {
	if _, err := d.Resource(gvr).Namespace(u.GetNamespace()).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Errorf("create %s %s: %v", gvr.Resource, u.GetName(), err)
	}
}

func claim(i int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PersistentVolumeClaim",
		"metadata": map[string]any{"name": fmt.Sprintf("files-%03d", i), "namespace": namespace},
		"spec": map[string]any{"storageClassName": "big-at-once", "accessModes": []any{"ReadWriteOnce"},
			"resources": map[string]any{"requests": map[string]any{"storage": "1Mi"}}}}}
}

// object is the i-th of those that make the namespace large: ConfigMaps and Secrets of 100 bytes to 20 KiB, and some Services.
func object(i int) (schema.GroupVersionResource, *unstructured.Unstructured) {
	meta := map[string]any{"name": fmt.Sprintf("object-%04d", i), "namespace": namespace, "labels": map[string]any{"part": "bulk"}}
	text := strings.Repeat(fmt.Sprintf("%d of many; ", i), 10)
	if i%50 == 0 {
		text = strings.Repeat(text, 160)
	}
	switch {
	case i%100 == 1:
		return cluster.Services, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": meta,
			"spec": map[string]any{"selector": map[string]any{"app": "pg"}, "ports": []any{map[string]any{"port": int64(5432)}}}}}
	case i%3 == 0:
		return cluster.Secrets, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": meta,
			"stringData": map[string]any{"value": text}}}
	}
	return cluster.ConfigMaps, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta,
		"data": map[string]any{"value": text}}}
}

// ready waits until every claim is bound and the server is ready.
func ready(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	bound, isReady := 0, false
	ok, err := bed.Client.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.PersistentVolumeClaims, Namespace: namespace}, {GVR: cluster.Pods, Namespace: namespace}},
		func(ctx context.Context) (bool, error) {
			list, err := cluster.List[corev1.PersistentVolumeClaim](ctx, bed.Client, cluster.PersistentVolumeClaims, namespace, metav1.ListOptions{})
			if err != nil {
				return false, err
			}
			bound = 0
			for _, c := range list {
				if c.Status.Phase == corev1.ClaimBound {
					bound++
				}
			}
			pods, err := cluster.List[corev1.Pod](ctx, bed.Client, cluster.Pods, namespace, metav1.ListOptions{})
			if err != nil {
				return false, err
			}
			isReady = false
			for _, p := range pods {
				for _, c := range p.Status.Conditions {
					isReady = isReady || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
				}
			}
			return bound == claims && isReady, nil
		})
	if err != nil || !ok {
		t.Fatalf("%d of %d claims are bound, server ready: %t: %v", bound, claims, isReady, err)
	}
}

func seed(t *testing.T) {
	t.Helper()
	cfg, err := pgx.ParseConfig("host=pod port=5432 sslmode=disable user=shop password=local-sample-owner dbname=shop")
	if err != nil {
		t.Fatal(err)
	}
	p, err := cluster.Get[corev1.Pod](t.Context(), bed.Client, cluster.Pods, namespace, "pg-0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		return bed.Client.DialPod(t.Context(), namespace, p.Name, p.UID, 5432)
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `CREATE TABLE orders AS SELECT generate_series(1, 500) AS id; CHECKPOINT;
		CREATE ROLE shop_reader LOGIN PASSWORD 'local-sample-reader'; GRANT SELECT ON orders TO shop_reader`); err != nil {
		t.Fatal(err)
	}
}

// count counts the bulk objects and the claims of a namespace by kind; claims that are bound are counted as "bound".
func count(t *testing.T, ns string) map[string]int {
	out := map[string]int{}
	for _, gvr := range []schema.GroupVersionResource{cluster.ConfigMaps, cluster.Secrets, cluster.Services} {
		l, err := bed.Client.Dynamic.Resource(gvr).Namespace(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "part=bulk"})
		if err != nil {
			t.Error(err)
			continue
		}
		out["objects"] += len(l.Items)
	}
	l, err := cluster.List[corev1.PersistentVolumeClaim](t.Context(), bed.Client, cluster.PersistentVolumeClaims, ns, metav1.ListOptions{})
	if err != nil {
		t.Error(err)
	}
	out["claims"] = len(l)
	for _, c := range l {
		if c.Status.Phase == corev1.ClaimBound {
			out["bound"]++
		}
	}
	return out
}

func complete(t *testing.T, what string, got map[string]int) {
	t.Helper()
	t.Logf("%s has %v", what, got)
	if got["objects"] != objects || got["claims"] != claims || got["bound"] != claims {
		t.Errorf("%s has %v, expected %d objects and %d claims, all bound", what, got, objects, claims)
	}
}

// runOf is the ID of the newest run, from the only drill namespace there is.
func runOf(t *testing.T) string {
	for ns := range namespaces(t) {
		if id, ok := strings.CutPrefix(ns, "drill-"); ok {
			return id
		}
	}
	t.Error("there is no namespace of a drill")
	return ""
}

func namespaces(t *testing.T) map[string]bool {
	l, err := bed.Client.Dynamic.Resource(cluster.Namespaces).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Error(err)
		return nil
	}
	out := map[string]bool{}
	for _, u := range l.Items {
		out[u.GetName()] = true
	}
	return out
}

// leftOfVelero are the Restores, or the contents that Velero made for one.
func leftOfVelero(t *testing.T, what string) []string {
	gvr, ns, o := velero.Restores, stack.VeleroNamespace, metav1.ListOptions{}
	if what == "contents" {
		gvr, ns, o = cluster.VolumeSnapshotContents, "", metav1.ListOptions{LabelSelector: velero.LabelRestore}
	}
	l, err := bed.Client.Dynamic.Resource(gvr).Namespace(ns).List(t.Context(), o)
	if err != nil {
		t.Error(err)
		return nil
	}
	var out []string
	for _, u := range l.Items {
		out = append(out, u.GetName())
	}
	return out
}
