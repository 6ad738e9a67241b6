package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database/pgtest"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
)

const bird = "canary-bird-5d41402a"

func birdDigest() string {
	sum := sha256.Sum256([]byte(bird))
	return hex.EncodeToString(sum[:])
}

// beating is a plan that asks for everything a plan can ask for.
func beating() *plan.Plan {
	p := shop()
	db := &p.Spec.Workload.Database
	db.Queries[0].Kind = plan.RowCountQuery
	db.Heartbeat = &plan.Heartbeat{SQL: "SELECT max(at) FROM beats"}
	db.Canary = &plan.Canary{SQL: "SELECT v FROM canary", SHA256: birdDigest()}
	p.Spec.Objectives.RPO = plan.Duration(15 * time.Minute)
	return p
}

// scene is what the data of the restored copy is like.
type scene struct {
	name string
	mode run.Mode
	// ages are those of the newest heartbeats of the pods, when the run is triggered; negative: after it.
	ages      []time.Duration
	change    func(*plan.Plan)
	phase     run.Phase
	reason    string
	says      string
	rpo       time.Duration
	pod       string
	proved    bool
	objective string
}

func scenes() []scene {
	none := func(p *plan.Plan) { p.Spec.Objectives.RPO = 0 }
	return []scene{
		{name: "within the objective", mode: run.Drill, ages: []time.Duration{10 * time.Minute}, phase: run.Passed, rpo: 10 * time.Minute, pod: "pg-0", proved: true, objective: "10m"},
		{name: "just the objective", mode: run.Drill, ages: []time.Duration{15 * time.Minute}, phase: run.Passed, rpo: 15 * time.Minute, pod: "pg-0", proved: true, objective: "15m"},
		{name: "the database that lags the most counts", mode: run.Drill, ages: []time.Duration{time.Minute, 14 * time.Minute}, phase: run.Passed, rpo: 14 * time.Minute, pod: "pg-1", proved: true, objective: "14m"},
		{name: "a drill that misses the objective", mode: run.Drill, ages: []time.Duration{time.Hour}, phase: run.Refused, reason: "ObjectiveMissed",
			says: "RPO objective on pod pg-0: expected ≤ 15m, got 1h", rpo: time.Hour, pod: "pg-0", proved: true, objective: "1h"},
		{name: "a recover that misses the objective", mode: run.Recover, ages: []time.Duration{time.Hour}, phase: run.Passed,
			says: "the RPO objective was missed: expected ≤ 15m, got 1h", rpo: time.Hour, pod: "pg-0", proved: true, objective: "1h"},
		{name: "no objective", mode: run.Drill, ages: []time.Duration{time.Hour}, change: none, phase: run.Passed, rpo: time.Hour, pod: "pg-0", proved: true},
		{name: "the workload writes again", mode: run.Recover, ages: []time.Duration{-time.Minute}, phase: run.Passed, rpo: 0, pod: "pg-0", proved: true, objective: "0s"},
		{name: "the future", mode: run.Recover, ages: []time.Duration{time.Minute, -11 * time.Minute}, phase: run.Refused, reason: "ChecksFailed", says: "in the future", proved: true, rpo: -1},
		{name: "smoke queries alone", mode: run.Recover, ages: []time.Duration{time.Minute}, change: func(p *plan.Plan) {
			p.Spec.Workload.Database.Queries[0].Kind, p.Spec.Workload.Database.Heartbeat, p.Spec.Workload.Database.Canary = plan.SmokeQuery, nil, nil
		}, phase: run.Passed, says: "nothing proved the data", rpo: -1},
		{name: "another canary", mode: run.Recover, ages: []time.Duration{time.Minute}, change: func(p *plan.Plan) {
			p.Spec.Workload.Database.Canary.SHA256 = strings.Repeat("0", 64)
		}, phase: run.Refused, reason: "ChecksFailed", says: "canary on pod pg-0: expected sha256:000000000000…, got sha256:" + birdDigest()[:12], rpo: time.Minute, pod: "pg-0", proved: true, objective: "1m"},
	}
}

func TestData(t *testing.T) {
	servers := []*pgtest.Server{pgtest.Start(t, pgtest.Options{}), pgtest.Start(t, pgtest.Options{})}
	for _, s := range servers {
		s.Exec(`CREATE ROLE reader LOGIN PASSWORD '` + password + `'; CREATE TABLE items AS SELECT generate_series(1, 42) id;
			CREATE TABLE beats (at timestamptz); CREATE TABLE canary AS SELECT '` + bird + `' v; GRANT SELECT ON items, beats, canary TO reader`)
	}
	for _, tc := range scenes() {
		t.Run(tc.name, func(t *testing.T) {
			for i, age := range tc.ages {
				servers[i].Exec("TRUNCATE beats; INSERT INTO beats VALUES ('" + steptest.Start.Add(-age).Format(time.RFC3339) + "')")
			}
			g := gateOf(t, tc, beating(), func(ctx context.Context, pod int) (net.Conn, error) { return servers[pod].Dial(ctx) })
			tc.holds(t, g)
		})
	}
	t.Run("no heartbeat", func(t *testing.T) {
		servers[0].Exec("TRUNCATE beats")
		tc := scene{mode: run.Recover, ages: []time.Duration{0}, phase: run.Refused, reason: "ChecksFailed", says: "heartbeat on pod pg-0: expected a time, not in the future, got NULL", rpo: -1, proved: true}
		tc.holds(t, gateOf(t, tc, beating(), func(ctx context.Context, _ int) (net.Conn, error) { return servers[0].Dial(ctx) }))
	})
}

// gateOf asks the databases of the pods of a scene; the gate runs five minutes after the trigger.
func gateOf(t *testing.T, tc scene, p *plan.Plan, dial func(context.Context, int) (net.Conn, error)) run.Gate {
	t.Helper()
	namespace := "shop"
	objects := []string{statefulSet(len(tc.ages)), secret}
	for i := range tc.ages {
		objects = append(objects, pod(i, "True"))
	}
	if tc.mode == run.Drill {
		namespace = step.DrillNamespace("shop-drill-20261121020000-9f3c")
		for i := range objects {
			objects[i] = strings.ReplaceAll(objects[i], "namespace: shop", "namespace: "+namespace)
		}
	}
	if tc.change != nil {
		tc.change(p)
	}
	w := steptest.New(t, tc.mode, p, objects...)
	w.Run.Trigger.At = steptest.Start
	w.Pass(5 * time.Minute)
	h := &Handler{Env: w.Env, Dial: func(ctx context.Context, _ *cluster.Client, in, name string, _ types.UID, _ int) (net.Conn, error) {
		var i int
		if _, err := fmt.Sscanf(name, "pg-%d", &i); err != nil || in != namespace {
			return nil, fmt.Errorf("dialled %s/%s", in, name)
		}
		return dial(ctx, i)
	}}
	g, err := h.Handle(t.Context(), "transaction", "ReadOnlyTransaction", w.Run)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (tc scene) holds(t *testing.T, g run.Gate) {
	t.Helper()
	b, err := json.Marshal(g)
	if err != nil || strings.Contains(string(b), bird) || strings.Contains(string(b), password) || len(b) > run.SectionLimit {
		t.Errorf("the section holds a secret: %s, %v", b, err)
	}
	if g.Phase != tc.phase || g.Reason != tc.reason || !strings.Contains(g.Message, tc.says) || g.DataProved != tc.proved || g.HeartbeatPod != tc.pod {
		t.Errorf("%s", b)
	}
	switch {
	case tc.rpo < 0 && (g.RPOMS != nil || g.HeartbeatAt != nil):
		t.Errorf("an RPO was measured: %s", b)
	case tc.rpo >= 0 && (g.RPOMS == nil || *g.RPOMS != tc.rpo.Milliseconds() || g.HeartbeatAt == nil):
		t.Errorf("RPO %v, want %s", g.RPOMS, tc.rpo)
	}
	objective := ""
	for _, c := range g.Checks {
		if c.Name == "RPO objective" {
			objective = c.Got
			if c.OK != (tc.rpo <= 15*time.Minute) || c.Kind != "Objective" || c.Pod != tc.pod {
				t.Errorf("%+v", c)
			}
		} else if c.Kind == "" {
			t.Errorf("%+v has no kind", c)
		}
	}
	if objective != tc.objective {
		t.Errorf("RPO objective %q, want %q", objective, tc.objective)
	}
}

func TestFitKeepsWhatProves(t *testing.T) {
	long := strings.Repeat("x", 190)
	var checks []run.Check
	for i := range 40 {
		checks = append(checks, run.Check{Name: fmt.Sprint(i), Kind: string(plan.SmokeQuery), Got: long, OK: true})
	}
	checks = append(checks, run.Check{Name: "rows", Kind: string(plan.RowCountQuery), OK: true}, run.Check{Name: "canary", Kind: "Canary"})
	kept := fit(checks)
	if n := len(kept); n >= 42 || n < 3 || kept[n-1].Name != "canary" || kept[n-2].Name != "rows" {
		t.Errorf("%d checks kept: %+v", n, kept)
	}
}
