package sample_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/cluster"
)

func (l *ledger) log(container string) string {
	return filepath.Join(l.dir, "agent", "logs", container+".log")
}

func (l *ledger) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	return cluster.Get[corev1.Pod](ctx, l.client, cluster.Pods, sample.LedgerNamespace, name)
}

func (l *ledger) wantEntries(t *testing.T, want int) {
	t.Helper()
	got, err := sample.LedgerCounts(t.Context(), l.client, sample.LedgerNamespace)
	if err != nil || len(got) != sample.LedgerReplicas || got[sample.LedgerPod(0)] != want {
		t.Errorf("entries %v (%v), want %d", got, err, want)
	}
}

// until waits until a pod is as wanted.
func (l *ledger) until(t *testing.T, what, name string, as func(*corev1.Pod) bool) {
	t.Helper()
	l.wait(t, what, cluster.Source{GVR: cluster.Pods, Namespace: sample.LedgerNamespace}, func(ctx context.Context) (bool, error) {
		p, err := l.pod(ctx, name)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && as(p), err
	})
}

func (l *ledger) wait(t *testing.T, what string, source cluster.Source, done func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if ok, err := l.client.WaitFor(ctx, time.Second, []cluster.Source{source}, done); err != nil || !ok {
		t.Fatalf("wait for %s: %t %v", what, ok, err)
	}
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (l *ledger) create(t *testing.T, apiVersion, kind, name string, spec map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": sample.LedgerNamespace}, "spec": spec}}
	m, err := l.client.Mapper.RESTMapping(u.GroupVersionKind().GroupKind())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.client.Dynamic.Resource(m.Resource).Namespace(sample.LedgerNamespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
