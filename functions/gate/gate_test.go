package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database/pgtest"
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
				if g = call(50 * time.Millisecond); g.Phase != run.Running {
					t.Fatalf("before the change: %+v", g)
				}
				done := make(chan struct{})
				go func() { defer close(done); tc.during(w) }()
				g = call(10 * time.Second)
				<-done
			case tc.late:
				call(50 * time.Millisecond)
				w.Pass(w.Plan.Spec.Gate.Budget.D())
				g = call(50 * time.Millisecond)
			case tc.phase == run.Running:
				g = call(50 * time.Millisecond)
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
	w.Plan.Spec.Gate.Stability = plan.Duration(200 * time.Millisecond)
	h := &Handler{Env: w.Env}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
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

// db is a world whose pods' ports lead to a real database.
func db(t *testing.T, server *pgtest.Server, mode run.Mode, p *plan.Plan, objects ...string) (*steptest.World, *Handler) {
	w := steptest.New(t, mode, p, objects...)
	h := &Handler{Env: w.Env, Dial: func(ctx context.Context, _ *cluster.Client, namespace, name string, uid types.UID, port int) (net.Conn, error) {
		if want := types.UID("pod-" + strings.TrimPrefix(name, "pg-")); uid != want || namespace != "shop" || port != 5432 {
			return nil, fmt.Errorf("dialled %s/%s of UID %s at %d", namespace, name, uid, port)
		}
		return server.Dial(ctx)
	}}
	return w, h
}

func TestTransaction(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	server.Exec(`CREATE ROLE reader LOGIN PASSWORD '` + password + `'; CREATE ROLE boss LOGIN SUPERUSER PASSWORD '` + password + `';
		CREATE TABLE items AS SELECT generate_series(1, 42) id; GRANT ALL ON items TO reader`)
	two := []string{statefulSet(2), pod(0, "True"), pod(1, "True"), secret}
	for _, tc := range []struct {
		name    string
		objects []string
		change  func(*plan.Plan, *Handler)
		phase   run.Phase
		reason  string
		code    fault.Code
		checks  int
	}{
		{name: "each pod", phase: run.Passed, checks: 2},
		{name: "an ordinal", change: func(p *plan.Plan, _ *Handler) { p.Spec.Workload.Database.Pod = "1" }, phase: run.Passed, checks: 1},
		{name: "an ordinal that is none", change: func(p *plan.Plan, _ *Handler) { p.Spec.Workload.Database.Pod = "7" }, phase: run.Refused, reason: "NoPodToAsk"},
		{name: "two primaries", change: func(p *plan.Plan, _ *Handler) { p.Spec.Workload.Database.Pod = "primary" }, phase: run.Refused, reason: "NoPodToAsk"},
		{name: "one primary", objects: []string{statefulSet(1), pod(0, "True"), secret},
			change: func(p *plan.Plan, _ *Handler) { p.Spec.Workload.Database.Pod = "primary" }, phase: run.Passed, checks: 1},
		{name: "rows are missing", change: func(p *plan.Plan, _ *Handler) {
			p.Spec.Workload.Database.Queries[0].Expect = plan.Expect{AtLeast: ptr(43.0)}
		}, phase: run.Refused, reason: "ChecksFailed", checks: 2},
		{name: "a write is refused by the server", change: func(p *plan.Plan, _ *Handler) {
			p.Spec.Workload.Database.Queries[0].SQL = "DELETE FROM items RETURNING 42"
		}, phase: run.Refused, reason: "ChecksFailed", checks: 2},
		{name: "no queries", change: func(p *plan.Plan, _ *Handler) { p.Spec.Workload.Database.Queries = nil }, phase: run.Refused, reason: "NothingAsked"},
		{name: "a superuser", change: func(p *plan.Plan, h *Handler) {
			p.Spec.Workload.Database.Credentials = plan.Credentials{Environment: &plan.EnvironmentRef{Username: "U", Password: "P"}}
			h.LookupEnv = func(k string) (string, bool) { return map[string]string{"U": "boss", "P": password}[k], true }
		}, phase: run.Refused, reason: "RoleRefused"},
		{name: "a wrong password", change: func(p *plan.Plan, h *Handler) {
			p.Spec.Workload.Database.Credentials = plan.Credentials{Environment: &plan.EnvironmentRef{Username: "U", Password: "P"}}
			h.LookupEnv = func(k string) (string, bool) {
				return map[string]string{"U": "reader", "P": "wrong-" + password}[k], true
			}
		}, phase: run.Refused, reason: "DatabaseRefused"},
		{name: "no such variable", change: func(p *plan.Plan, h *Handler) {
			p.Spec.Workload.Database.Credentials = plan.Credentials{Environment: &plan.EnvironmentRef{Username: "U", Password: "P"}}
			h.LookupEnv = func(string) (string, bool) { return "", false }
		}, code: fault.ObjectsMissing},
		{name: "no Secret", objects: two[:3], code: fault.ObjectsMissing},
		{name: "a Secret without the key", change: func(p *plan.Plan, _ *Handler) {
			p.Spec.Workload.Database.Credentials.Secret.PasswordKey = "pw"
		}, code: fault.ObjectsMissing},
		{name: "MySQL", change: func(p *plan.Plan, _ *Handler) { p.Spec.Workload.Database.Engine = plan.MySQL }, code: fault.NotQualified},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects := tc.objects
			if objects == nil {
				objects = two
			}
			w, h := db(t, server, run.Recover, shop(), objects...)
			if tc.change != nil {
				tc.change(w.Plan, h)
			}
			g, err := h.Handle(t.Context(), "transaction", "ReadOnlyTransaction", w.Run)
			if tc.code != "" {
				if fault.From(err) == nil || fault.From(err).Code != tc.code {
					t.Errorf("%v, want %s", err, tc.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if g.Phase != tc.phase || g.Reason != tc.reason || len(g.Checks) != tc.checks || (g.PassedAt != nil) != (tc.phase == run.Passed) {
				t.Errorf("%+v", g)
			}
			b, err := json.Marshal(g)
			if err != nil || strings.Contains(string(b), password) {
				t.Errorf("the section holds the password: %s, %v", b, err)
			}
		})
	}
	server.Exec("DO $$ BEGIN ASSERT (SELECT count(*) FROM items) = 42; END $$")

	t.Run("an unreachable database is tried again", func(t *testing.T) {
		w, h := db(t, server, run.Recover, shop(), two...)
		var calls atomic.Int32
		reach := h.Dial
		h.Dial = func(ctx context.Context, c *cluster.Client, ns, name string, uid types.UID, port int) (net.Conn, error) {
			if calls.Add(1) <= 2 { // with and without TLS
				// Something changes soon: the gate looks again.
				go w.Put(cluster.Pods, pod(1, "True"))
				return nil, errors.New("connection refused")
			}
			return reach(ctx, c, ns, name, uid, port)
		}
		g, err := h.Handle(t.Context(), "transaction", "ReadOnlyTransaction", w.Run)
		if err != nil || g.Phase != run.Passed || g.Reason != "" {
			t.Errorf("%+v, %v", g, err)
		}
	})
	t.Run("an unreachable database is refused in the end", func(t *testing.T) {
		w, h := db(t, server, run.Recover, shop(), two...)
		h.Dial = func(context.Context, *cluster.Client, string, string, types.UID, int) (net.Conn, error) {
			return nil, errors.New("connection refused")
		}
		for _, want := range []run.Phase{run.Running, run.Refused} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			g, err := h.Handle(ctx, "transaction", "ReadOnlyTransaction", w.Run)
			cancel()
			if err != nil || g.Phase != want || g.Reason != "DatabaseUnreachable" || !strings.Contains(g.Message, "connection refused") {
				t.Fatalf("%+v, %v, want %s", g, err, want)
			}
			w.Run.Gate = &g
			w.Pass(w.Plan.Spec.Gate.Budget.D())
		}
	})
	t.Run("many checks fit into the section", func(t *testing.T) {
		w, h := db(t, server, run.Recover, shop(), two...)
		q := &w.Plan.Spec.Workload.Database.Queries
		for i := range 60 {
			*q = append(*q, plan.Query{Name: fmt.Sprintf("query %d", i), SQL: "SELECT repeat('x', 300)", Expect: plan.Expect{Matches: ptr("x+")}})
		}
		*q = append(*q, plan.Query{Name: "last", SQL: "SELECT 1", Expect: plan.Expect{Equals: ptr("2")}})
		g, err := h.Handle(t.Context(), "transaction", "ReadOnlyTransaction", w.Run)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(g)
		failed := 0
		for _, c := range g.Checks {
			if !c.OK {
				failed++
			}
		}
		if len(b) > run.SectionLimit || g.Phase != run.Refused || failed != 2 || !strings.Contains(g.Message, "2 of 124") {
			t.Errorf("%d bytes, %d failed checks: %s", len(b), failed, g.Message)
		}
	})
}

func TestUnknownOperation(t *testing.T) {
	if _, err := (&Handler{}).Handle(t.Context(), "open", "ApplicationGate", run.Run{}); fault.From(err).Code != fault.Internal {
		t.Errorf("%v", err)
	}
}
