package gate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/volume"
)

const password = "reader-password-5c1d"

func shop() *plan.Plan {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}
	p.Spec.Workload = plan.Workload{Namespace: "shop", StatefulSet: "pg", Database: plan.Database{
		Engine: plan.PostgreSQL, Port: 5432, Name: "postgres", Pod: "each",
		Credentials: plan.Credentials{Secret: &plan.SecretRef{Name: "pg-reader"}},
		Queries:     []plan.Query{{Name: "items", SQL: "SELECT count(*) FROM items", Expect: plan.Expect{AtLeast: ptr(42.0)}}},
	}}
	return p
}

func ptr[T any](v T) *T { return &v }

func statefulSet(replicas int) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: pg, namespace: shop}\nspec: {replicas: %d}", replicas)
}

func pod(i int, ready string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: pg-%d, namespace: shop, uid: pod-%d}\nspec: {nodeName: node-0}\nstatus: {phase: Running, conditions: [{type: Ready, status: %q}]}", i, i, ready)
}

const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: pg-reader, namespace: shop}\ndata: {username: cmVhZGVy, password: cmVhZGVyLXBhc3N3b3JkLTVjMWQ=}"

func TestReady(t *testing.T) {
	for _, tc := range []struct {
		name    string
		objects []string
		// during changes the cluster while the gate waits.
		during func(*steptest.World)
		late   bool
		phase  run.Phase
		says   string
	}{
		{name: "all pods are ready", objects: []string{statefulSet(2), pod(0, "True"), pod(1, "True")}, phase: run.Ready},
		{name: "a pod becomes ready", objects: []string{statefulSet(2), pod(0, "True"), pod(1, "False")},
			during: func(w *steptest.World) { w.Put(cluster.Pods, pod(1, "True")) }, phase: run.Ready},
		{name: "a pod is made", objects: []string{statefulSet(1)}, during: func(w *steptest.World) { w.Put(cluster.Pods, pod(0, "True")) }, phase: run.Ready},
		{name: "a leftover pod beyond the replicas does not count", objects: []string{statefulSet(1), pod(0, "True"), pod(1, "False")}, phase: run.Ready},
		{name: "a pod is not ready", objects: []string{statefulSet(2), pod(0, "True"), pod(1, "False")}, phase: run.Running, says: "pod pg-1"},
		{name: "a pod is not ready within the budget", objects: []string{statefulSet(2), pod(0, "True"), pod(1, "False")}, late: true, phase: run.NotReady, says: "pod pg-1"},
		{name: "no StatefulSet", late: true, phase: run.NotReady, says: "StatefulSet shop/pg does not exist"},
		{name: "scaled to zero", objects: []string{statefulSet(0)}, late: true, phase: run.NotReady, says: "scaled to zero"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := steptest.New(t, run.Recover, shop(), tc.objects...)
			w.Plan.Spec.Gate.Stability = 0
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			h := &Handler{Env: w.Env}
			call := func(d time.Duration) run.Gate {
				ctx, cancel := context.WithTimeout(ctx, d)
				defer cancel()
				g, err := h.Handle(ctx, "ready", "ApplicationGate", w.Run)
				if err != nil {
					t.Fatal(err)
				}
				w.Run.Gate = &g
				return g
			}
			var g run.Gate
			switch {
			case tc.during != nil:
				if g = call(500 * time.Millisecond); g.Phase != run.Running {
					t.Fatalf("before the change: %+v", g)
				}
				done := make(chan struct{})
				go func() { defer close(done); tc.during(w) }()
				g = call(10 * time.Second)
				<-done
			case tc.late:
				call(500 * time.Millisecond)
				w.Pass(w.Plan.Spec.Gate.Budget.D())
				g = call(500 * time.Millisecond)
			case tc.phase == run.Running:
				g = call(500 * time.Millisecond)
			default:
				g = call(10 * time.Second)
			}
			if g.Phase != tc.phase || !strings.Contains(g.Message, tc.says) {
				t.Errorf("%+v, want %s that says %q", g, tc.phase, tc.says)
			}
			if (g.Phase == run.NotReady) != (g.Reason == string(fault.BudgetExceeded)) {
				t.Errorf("reason %q", g.Reason)
			}
		})
	}
}

// The window must be waited out with a real clock, and begins anew when a pod is replaced in between.
func TestStabilityWindow(t *testing.T) {
	w := steptest.New(t, run.Recover, shop(), statefulSet(1), pod(0, "True"))
	w.Env.Now = time.Now
	w.Plan.Spec.Gate.Stability = plan.Duration(2 * time.Second)
	h := &Handler{Env: w.Env}
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	g, err := h.Handle(short, "ready", "ApplicationGate", w.Run)
	if err != nil || g.Phase != run.Running || g.StableSince == nil {
		t.Fatalf("%+v, %v", g, err)
	}
	first := *g.StableSince
	w.Drop(cluster.Pods, "shop", "pg-0")
	w.Put(cluster.Pods, strings.ReplaceAll(pod(0, "True"), "pod-0", "pod-0-later"))
	w.Run.Gate = &g
	g, err = h.Handle(t.Context(), "ready", "ApplicationGate", w.Run)
	if err != nil || g.Phase != run.Ready || !g.StableSince.After(first) {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestObserve(t *testing.T) {
	base := func() *volume.Facts {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pg-0", UID: "a"}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(steptest.Start)}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}}
		return &volume.Facts{Name: "pg", StatefulSet: &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: ptr(int32(2))}}, Pods: []corev1.Pod{p}}
	}
	for _, tc := range []struct {
		name    string
		change  func(*volume.Facts)
		waiting []string
		again   bool
	}{
		{"nothing", func(*volume.Facts) {}, nil, false},
		{"another UID", func(f *volume.Facts) { f.Pods[0].UID = "b" }, nil, true},
		{"a restart", func(f *volume.Facts) { f.Pods[0].Status.ContainerStatuses[0].RestartCount++ }, nil, true},
		{"a flap that nobody saw", func(f *volume.Facts) {
			f.Pods[0].Status.Conditions[0].LastTransitionTime = metav1.NewTime(steptest.Start.Add(time.Second))
		}, nil, true},
		{"another pod", func(f *volume.Facts) {
			f.Pods = append(f.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pg-1"}})
		}, nil, true},
		{"a pod left over from a scale-down", func(f *volume.Facts) {
			f.Pods = append(f.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pg-2"}})
		}, nil, false},
		{"not ready", func(*volume.Facts) {}, []string{"pod pg-0 is not ready"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var g run.Gate
			observe(&g, base(), nil, steptest.Start)
			f := base()
			tc.change(f)
			observe(&g, f, tc.waiting, steptest.Start.Add(time.Minute))
			same := g.StableSince != nil && g.StableSince.Equal(steptest.Start)
			if same == tc.again {
				t.Errorf("stable since %v", g.StableSince)
			}
		})
	}
}

func TestUnknownOperation(t *testing.T) {
	if _, err := (&Handler{}).Handle(t.Context(), "open", "ApplicationGate", run.Run{}); fault.From(err).Code != fault.Internal {
		t.Errorf("%v", err)
	}
}
