package assess_test

import (
	"context"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/steptest"
)

// healthy is what a workload without a fault looks like.
var healthy = map[signal.Name][2]string{
	signal.APIServerReady: {"True", "Ready"}, signal.CSIDriverHealthy: {"True", "Healthy"},
	signal.CSIDriverSupported: {"Unknown", "DriverNotInTable"}, signal.VolumesAttached: {"True", "Attached"},
	signal.PVCsBound: {"True", "Bound"}, signal.EtcdSnapshotVerified: {"NotApplicable", "ManagedEtcd"},
	signal.InventoryVerified: {"True", "Verified"}, signal.WorkloadReady: {"True", "Ready"}, signal.SchedulingPossible: {"True", "Scheduled"},
}

func assessReadOnly(t *testing.T, l *live) {
	data, err := os.ReadFile("../../infra/kubernetes/assess-rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range splitYAML(data) {
		u := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &u.Object); err != nil {
			t.Fatal(err)
		}
		m, err := l.c.Mapper.RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
		if err != nil {
			t.Fatal(err)
		}
		steptest.Written(t, func() error {
			_, err := l.c.Dynamic.Resource(m.Resource).Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "test"})
			return err
		})
	}
	kubeconfig, err := l.stack.KubeconfigFor("assess", "fallback-chain:assess")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := cluster.FromKubeconfig(kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	e, js := l.env(t, reader)
	r := l.run(run.Evaluate)
	a := l.assessed(t, e, r)
	if a.Phase != run.Assessed || a.KubernetesVersion == "" {
		t.Errorf("phase %s, version %q", a.Phase, a.KubernetesVersion)
	}
	l.wants(t, e, r, healthy)
	if es := changes(t, js, r); len(es) != 0 {
		t.Errorf("assess wrote %d journal entries, expected none", len(es))
	}
	// The role really is read-only: the same client may change nothing, and read no Secret.
	err = reader.Dynamic.Resource(cluster.Pods).Namespace(sample.Namespace).Delete(t.Context(), sample.Pod(0), metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	if !apierrors.IsForbidden(err) {
		t.Errorf("deleting a pod: %v, expected forbidden", err)
	}
	if _, err := cluster.List[corev1.Secret](t.Context(), reader, cluster.Secrets, sample.Namespace, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing Secrets: %v, expected forbidden", err)
	}
}

func splitYAML(b []byte) [][]byte {
	var out [][]byte
	start := 0
	for i := 0; i+5 <= len(b); i++ {
		if string(b[i:i+5]) == "\n---\n" {
			out = append(out, b[start:i+1])
			start = i + 5
		}
	}
	return append(out, b[start:])
}

func nothingStuck(t *testing.T, l *live) {
	e, js := l.env(t, l.c)
	r := l.run(run.Recover)
	if sec := l.volumesync(t, e, r); sec.Phase != run.Succeeded || len(sec.Found)+len(sec.Done) != 0 {
		t.Errorf("%+v, expected Succeeded with nothing found", sec)
	}
	if sec := l.controlplane(t, e, r); sec.Phase != run.Succeeded || len(sec.Done) != 0 {
		t.Errorf("%+v, expected Succeeded with nothing done", sec)
	}
	if es := changes(t, js, r); len(es) != 0 {
		t.Errorf("%d changes were made, expected none: %+v", len(es), es)
	}
}

// apiServerAway: while nobody answers the assessment waits, then it is Unreadable with every signal Unknown, and after the
// server is back it reads everything.
func apiServerAway(t *testing.T, l *live) {
	if err := l.stack.StopComponent(t.Context(), stack.APIServer); err != nil {
		t.Fatal(err)
	}
	e, _ := l.env(t, l.c)
	r := l.run(run.Evaluate)
	wait := l.plan.Spec.APIServerWait
	l.plan.Spec.APIServerWait = l.plan.Spec.Tiers.FailedSchedulingPersistence // seconds
	a := l.assessed(t, e, r)
	if a.Phase != run.Unreadable {
		t.Errorf("phase %s, expected Unreadable", a.Phase)
	}
	for n, s := range a.Signals {
		if s.Status != signal.Unknown {
			t.Errorf("%s is %s, expected Unknown", n, s.Status)
		}
	}
	l.plan.Spec.APIServerWait = wait
	back := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		back <- l.stack.StartComponent(ctx, stack.APIServer)
	}()
	if a := l.assessed(t, e, r); a.Phase != run.Assessed || a.Signals[signal.APIServerReady].Status != signal.True {
		t.Errorf("%+v, expected Assessed", a)
	}
	if err := <-back; err != nil {
		t.Fatal(err)
	}
}
