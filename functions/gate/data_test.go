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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

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
	ages   []time.Duration
	change func(*plan.Plan)
	// restored is what the run says of the restore; claims are the pods' claims, data-pg-0 and so on, each as metadata and spec.
	restored func(*run.Run)
	claims   []string
	// refused: the claims may not be read.
	refused   bool
	phase     run.Phase
	reason    string
	says      string
	rpo       time.Duration
	pod       string
	proved    bool
	objective string
	// from is the age of the restore point when the run is triggered; own tells that the heartbeats are the copy's own.
	from time.Duration
	own  string
}

// ofBackup is a drill that Velero restored from a backup that took half a minute.
func ofBackup(age time.Duration) func(*run.Run) {
	return func(r *run.Run) {
		from, to := steptest.Start.Add(-age), steptest.Start.Add(-age+30*time.Second)
		r.Backup = &run.Backup{Phase: run.Verified, Name: "nightly", StartedAt: &from, CompletedAt: &to}
		r.Restore = &run.Restore{Velero: &run.VeleroRestore{Backup: "nightly"}, Claims: []run.Snapshot{{Claim: "data-pg-0", Driver: "d", Handle: "h", TakenAt: from}}}
	}
}

// ofSnapshots is a drill from a bundle.
func ofSnapshots(ages ...time.Duration) func(*run.Run) {
	return func(r *run.Run) {
		r.Restore = &run.Restore{}
		for i, age := range ages {
			r.Restore.Claims = append(r.Restore.Claims, run.Snapshot{Claim: fmt.Sprintf("data-pg-%d", i), Namespace: "shop", Name: fmt.Sprintf("s%d", i), TakenAt: steptest.Start.Add(-age)})
		}
	}
}

// made is a claim that came some time after the trigger; run is the label of the run that made it, taken the snapshot's age.
func made(after time.Duration, run string, taken string, spec string) string {
	return fmt.Sprintf("creationTimestamp: %q, labels: {fallbackchain.io/run: %q}, annotations: {fallbackchain.io/snapshot-taken-at: %q}}\nspec: {%s",
		steptest.Start.Add(after).Format(time.RFC3339), run, taken, spec)
}

func ago(d time.Duration) string { return steptest.Start.Add(-d).Format(time.RFC3339Nano) }

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
		{name: "a drill's copy writes heartbeats: the backup's age misses the objective", mode: run.Drill, ages: []time.Duration{-2 * time.Minute}, restored: ofBackup(20 * time.Hour), phase: run.Refused, reason: "ObjectiveMissed",
			says: "expected ≤ 15m, got 20h, the age of the backup nightly (not measured from the data)", rpo: -1, proved: true, from: 20 * time.Hour, own: "(the data came from backup nightly of 2026-11-20T06:00:00Z): they are the copy's own heartbeats",
			objective: "20h, the age of the backup nightly (not measured from the data)"},
		{name: "and with an objective that the backup's age meets", mode: run.Drill, ages: []time.Duration{-2 * time.Minute}, restored: ofBackup(10 * time.Minute), phase: run.Passed,
			says: "RPO not measured from the data", rpo: -1, proved: true, from: 10 * time.Minute, own: "the copy's own heartbeats", objective: "10m, the age of the backup nightly (not measured from the data)"},
		{name: "and with nothing else that proves the data", mode: run.Drill, ages: []time.Duration{-2 * time.Minute}, restored: ofBackup(10 * time.Minute), change: func(p *plan.Plan) {
			p.Spec.Workload.Database.Queries[0].Kind, p.Spec.Workload.Database.Canary = plan.SmokeQuery, nil
		}, phase: run.Passed, says: "nothing proved the data", rpo: -1, from: 10 * time.Minute, own: "the copy's own", objective: "10m, the age of the backup nightly (not measured from the data)"},
		{name: "and just after a backup", mode: run.Drill, ages: []time.Duration{-2 * time.Minute}, restored: ofBackup(time.Minute), phase: run.Passed, rpo: -1, proved: true, from: time.Minute,
			own: "the copy's own", objective: "1m, the age of the backup nightly (not measured from the data)"},
		{name: "heartbeats in a time zone that is not UTC, later than the backup", mode: run.Drill, ages: []time.Duration{18 * time.Hour}, restored: ofBackup(20 * time.Hour), phase: run.Refused, reason: "ObjectiveMissed", rpo: -1, proved: true,
			from: 20 * time.Hour, own: "the copy's own", objective: "20h, the age of the backup nightly (not measured from the data)"},
		{name: "the backup's own heartbeat", mode: run.Drill, ages: []time.Duration{10 * time.Minute}, restored: ofBackup(9 * time.Minute), phase: run.Passed, rpo: 10 * time.Minute, pod: "pg-0", proved: true, objective: "10m", from: 9 * time.Minute},
		{name: "the source's clock is ahead: no newer than the backup", mode: run.Drill, ages: []time.Duration{6 * time.Minute}, restored: ofBackup(10 * time.Minute), phase: run.Passed, rpo: 9*time.Minute + 30*time.Second, pod: "pg-0", proved: true, objective: "9m30s", from: 10 * time.Minute},
		{name: "in the second of the snapshot", mode: run.Drill, ages: []time.Duration{10*time.Minute - time.Second}, restored: ofSnapshots(10 * time.Minute), phase: run.Passed, rpo: 10*time.Minute - time.Second, pod: "pg-0", proved: true, objective: "9m59s", from: 10 * time.Minute},
		{name: "a drill of snapshots whose copy writes", mode: run.Drill, ages: []time.Duration{-time.Minute}, restored: ofSnapshots(7*time.Minute, 14*time.Minute), phase: run.Passed, rpo: -1, proved: true, from: 14 * time.Minute,
			own: "the data came from snapshot shop/s1", objective: "14m, the age of the snapshot shop/s1 (not measured from the data)"},
		{name: "a drill of nobody knows what whose copy writes", mode: run.Drill, ages: []time.Duration{-time.Minute}, phase: run.Refused, reason: "ObjectiveMissed", rpo: -1, proved: true,
			own: "written after the trigger, and may be the copy's own", objective: "not known"},

		{name: "the workload writes again on its own volume", mode: run.Recover, ages: []time.Duration{-time.Minute}, claims: []string{made(-time.Hour, "", "", "")}, phase: run.Passed, rpo: 0, pod: "pg-0", proved: true, objective: "0s"},
		{name: "on a claim that the run made for the volume that was kept", mode: run.Recover, ages: []time.Duration{-time.Minute}, claims: []string{"labels: {fallbackchain.io/run: shop-recover-20261121020000-9f3c}}\nspec: {volumeName: pv-0"},
			phase: run.Passed, rpo: 0, pod: "pg-0", proved: true, objective: "0s"},
		{name: "on a claim that an earlier run restored", mode: run.Recover, ages: []time.Duration{-time.Minute}, claims: []string{made(-time.Hour, "another", ago(30*time.Hour), "dataSource: {name: s}")}, phase: run.Passed, rpo: 0, pod: "pg-0", proved: true, objective: "0s"},
		{name: "a recover from a snapshot of four hours ago writes again", mode: run.Recover, ages: []time.Duration{-4 * time.Minute}, claims: []string{made(time.Minute, "shop-recover-20261121020000-9f3c", ago(4*time.Hour), "dataSource: {name: s}")}, phase: run.Passed,
			says: "the RPO objective was missed: expected ≤ 15m, got 4h, the age of the snapshot shop/s (not measured from the data); RPO not measured from the data", rpo: -1, proved: true, from: 4 * time.Hour, own: "the copy's own",
			objective: "4h, the age of the snapshot shop/s (not measured from the data)"},
		{name: "and does not write yet", mode: run.Recover, ages: []time.Duration{4*time.Hour + time.Minute}, claims: []string{made(-time.Second, "shop-recover-20261121020000-9f3c", ago(4*time.Hour), "dataSource: {name: s}")}, phase: run.Passed,
			says: "the RPO objective was missed", rpo: 4*time.Hour + time.Minute, pod: "pg-0", proved: true, from: 4 * time.Hour, objective: "4h1m"},
		{name: "a recover from the snapshot that it took", mode: run.Recover, ages: []time.Duration{-time.Minute}, claims: []string{made(time.Minute, "shop-recover-20261121020000-9f3c", ago(-time.Minute), "dataSource: {name: s}")}, phase: run.Passed,
			rpo: 0, pod: "pg-0", proved: true, from: -time.Minute, objective: "0s"},
		{name: "only the other pod's claim was restored", mode: run.Recover, ages: []time.Duration{-time.Minute, -time.Minute}, claims: []string{made(-time.Hour, "", "", ""), made(time.Minute, "shop-recover-20261121020000-9f3c", ago(10*time.Minute), "dataSource: {name: s}")},
			change: func(p *plan.Plan) { p.Spec.Workload.Database.Pod = "0" }, phase: run.Passed, rpo: 0, pod: "pg-0", proved: true, objective: "0s"},
		{name: "a claim that the StatefulSet made, empty", mode: run.Recover, ages: []time.Duration{-time.Minute}, claims: []string{made(time.Minute, "", "", "")[:len(`creationTimestamp: "2026-11-21T02:01:00Z"`)] + "}\nspec: {"}, phase: run.Passed,
			says: "the RPO objective was not proved: expected ≤ 15m, got not known", rpo: -1, proved: true, own: "claim data-pg-0 was made after the trigger, and not by this run", objective: "not known"},
		{name: "claims that may not be read keep nobody from recovering", mode: run.Recover, ages: []time.Duration{-time.Minute}, refused: true, phase: run.Passed, says: "not proved", rpo: -1, proved: true,
			own: "the claims could not be read", objective: "not known"},
		{name: "nor from measuring what is from before the trigger", mode: run.Recover, ages: []time.Duration{time.Minute}, refused: true, phase: run.Passed, rpo: time.Minute, pod: "pg-0", proved: true, objective: "1m"},
		{name: "a claim that is not there", mode: run.Recover, ages: []time.Duration{-time.Minute}, claims: []string{""}, phase: run.Passed, says: "not proved", rpo: -1, proved: true, own: "claim data-pg-0 does not exist", objective: "not known"},
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
	for i, c := range tc.claims {
		objects[2+i] = strings.Replace(objects[2+i], "nodeName: node-0", fmt.Sprintf("nodeName: node-0, volumes: [{name: data, persistentVolumeClaim: {claimName: data-pg-%d}}, {name: tmp, emptyDir: {}}]", i), 1)
		if c != "" {
			objects = append(objects, fmt.Sprintf("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-pg-%d, namespace: shop, %s}", i, c))
		}
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
	if tc.restored != nil {
		tc.restored(&w.Run)
	}
	w.Pass(5 * time.Minute)
	if tc.refused {
		w.Fake.PrependReactor("list", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(cluster.PersistentVolumeClaims.GroupResource(), "", nil)
		})
	}
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
	if !strings.Contains(g.NotMeasured, tc.own) || (g.NotMeasured == "") != (tc.own == "") {
		t.Errorf("not measured: %q, want %q", g.NotMeasured, tc.own)
	}
	if (g.RestoredFrom == nil) != (tc.from == 0) || (tc.from != 0 && !g.RestoredFrom.At.Equal(steptest.Start.Add(-tc.from))) {
		t.Errorf("restored from %+v, want one of %s before the trigger", g.RestoredFrom, tc.from)
	}
	objective := ""
	for _, c := range g.Checks {
		if c.Name == "RPO objective" {
			objective = c.Got
			if c.OK != (max(tc.rpo, tc.from) <= 15*time.Minute && c.Got != "not known") || c.Kind != "Objective" || (c.Pod != tc.pod && tc.own == "") {
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
