package gate

import (
	"context"
	"net"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/database/mytest"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

// TestDataOfMariaDB plays the same scenes with the other engine, as far as one server can.
func TestDataOfMariaDB(t *testing.T) {
	server := mytest.Start(t, mytest.Options{})
	server.Exec(`CREATE DATABASE shop; USE shop; CREATE USER reader IDENTIFIED BY '` + password + `'; GRANT SELECT ON shop.* TO reader;
		CREATE TABLE items AS SELECT seq id FROM seq_1_to_42; CREATE TABLE beats (at TIMESTAMP); CREATE TABLE canary AS SELECT '` + bird + `' v`)
	mariadb := func() *plan.Plan {
		p := beating()
		db := &p.Spec.Workload.Database
		db.Engine, db.Name, db.TLS = plan.MySQL, "shop", plan.TLSRequire
		return p
	}
	dial := func(ctx context.Context, _ int) (net.Conn, error) { return server.Dial(ctx) }
	for _, tc := range scenes() {
		if len(tc.ages) != 1 {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			at := steptest.Start.Add(-tc.ages[0]).Format(time.DateTime)
			server.Exec("SET time_zone = '+00:00'; TRUNCATE shop.beats; INSERT INTO shop.beats VALUES ('" + at + "')")
			tc.holds(t, gateOf(t, tc, mariadb(), dial))
		})
	}
	t.Run("the primary", func(t *testing.T) {
		server.Exec("SET time_zone = '+00:00'; TRUNCATE shop.beats; INSERT INTO shop.beats VALUES ('" + steptest.Start.Format(time.DateTime) + "')")
		tc := scene{mode: run.Recover, ages: []time.Duration{0}, phase: run.Passed, proved: true, pod: "pg-0", objective: "0s",
			change: func(p *plan.Plan) { p.Spec.Workload.Database.Pod = "primary" }}
		tc.holds(t, gateOf(t, tc, mariadb(), dial))
		server.Exec("SET GLOBAL read_only = ON")
		tc.phase, tc.reason, tc.says, tc.proved, tc.pod, tc.objective, tc.rpo = run.Refused, "NoPodToAsk", "0 pods are no replica", false, "", "", -1
		tc.holds(t, gateOf(t, tc, mariadb(), dial))
	})
}
