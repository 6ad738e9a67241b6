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

	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database/pgtest"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

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
		{name: "an engine that is not known", change: func(p *plan.Plan, _ *Handler) { p.Spec.Workload.Database.Engine = "oracle" }, phase: run.Refused, reason: "EngineUnknown"},
		{name: "TLS is required and not offered", change: func(p *plan.Plan, _ *Handler) { p.Spec.Workload.Database.TLS = plan.TLSRequire }, phase: run.Refused, reason: "TLSNotOffered"},
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
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
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
