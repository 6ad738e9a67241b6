// Package backups shows on the real local stack what becomes of Velero backups: rows that come back and how old they are, and that
// nothing is restored from a backup which is not what it was.
package backups

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	backupstep "fallbackchain.io/fallback/functions/backup"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// world is the one stack that all tests use, one after the other. Each leaves the shop whole.
type world struct {
	*testbed.Bed
	// newest is the newest backup, sealed; rows are what the shop held when it was taken, beat is its newest heartbeat.
	newest string
	rows   map[string]table
	beat   time.Time
	taken  int
}

var theWorld *world

func TestMain(m *testing.M) {
	testbed.Main(m, "backups", func(b *testbed.Bed) { theWorld = &world{Bed: b} })
}

// table is what a server holds: how many orders, and a digest over every column of each.
type table struct {
	Orders int
	Digest string
}

// read reads every server's rows.
func (w *world) read(t *testing.T, namespace string) map[string]table {
	t.Helper()
	out := map[string]table{}
	for i := range sample.Replicas {
		err := sample.Query(t.Context(), w.Client, namespace, sample.Pod(i), func(ctx context.Context, c *pgx.Conn) error {
			var r table
			err := c.QueryRow(ctx, "SELECT count(*), md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o").Scan(&r.Orders, &r.Digest)
			out[sample.Pod(i)] = r
			return err
		})
		if err != nil {
			t.Errorf("read the rows of %s: %v", namespace, err)
		}
	}
	return out
}

// order writes orders with the ids from, from+1, ... to every server.
func (w *world) order(t *testing.T, from, n int) {
	t.Helper()
	for i := range sample.Replicas {
		if _, err := sample.Exec(t.Context(), w.Client, sample.Namespace, sample.Pod(i),
			"INSERT INTO orders SELECT i, 1, 100, now() FROM generate_series($1::int, $2::int) AS i", from, from+n-1); err != nil {
			t.Fatal(err)
		}
	}
}

// backup returns the newest backup, and takes and seals one when there is none.
func (w *world) backup(t *testing.T) string {
	t.Helper()
	if w.newest == "" {
		w.take(t)
	}
	return w.newest
}

// take writes orders and a heartbeat, takes a backup, which is sealed, and writes orders that are not in it.
func (w *world) take(t *testing.T) string {
	t.Helper()
	w.taken++
	w.order(t, 4000+1000*w.taken, 7)
	w.beat = time.Now().UTC().Truncate(time.Millisecond)
	if err := sample.Beat(t.Context(), w.Client, sample.Namespace, w.beat); err != nil {
		t.Fatal(err)
	}
	w.rows = w.read(t, sample.Namespace)
	name := "backup-" + string(rune('a'+w.taken-1))
	from := time.Now()
	if _, err := sample.Backup(t.Context(), w.Client, name); err != nil {
		t.Fatal(err)
	}
	t.Logf("backup %s took %s", name, time.Since(from).Round(time.Millisecond))
	w.settle(t, sample.Namespace)
	w.sealBy(t, w.Sample.VeleroPlan, name)
	w.newest = name
	w.order(t, 4500+1000*w.taken, 3)
	return name
}

// place is a plan's place of backups, and what the plan expects of one.
func (w *world) place(t *testing.T, path string) (backup.Sealing, backup.Expectation) {
	t.Helper()
	p, err := plan.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	store, err := runner.OpenBackups(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	exp := backupstep.Expected(p, time.Now())
	if exp.ClusterUID, exp.KubernetesVersion, err = backupstep.Identity(t.Context(), w.Client); err != nil {
		t.Fatal(err)
	}
	if exp.Key, err = backup.OpenKey(p.Spec.Inventory.Velero.Integrity.Key); err != nil {
		t.Fatal(err)
	}
	return store.(backup.Sealing), exp
}

// sealBy seals a backup as a plan says.
func (w *world) sealBy(t *testing.T, path, name string) {
	t.Helper()
	store, exp := w.place(t, path)
	v, err := backup.Seal(t.Context(), store, name, "", exp, exp.Key.(backup.Signer))
	if err != nil {
		t.Fatalf("seal: %v (%+v)", err, v.Findings)
	}
}

// verifies checks that a backup is what it was sealed as.
func (w *world) verifies(t *testing.T, name string) {
	t.Helper()
	store, exp := w.place(t, w.Sample.VeleroPlan)
	v, err := backup.Verify(t.Context(), store, name, exp)
	if err != nil || v.Status != "True" || v.Integrity != "True" {
		t.Errorf("backup %s does not verify any more: %v %s (integrity %s)", name, err, v.Message, v.Integrity)
	}
}

// drills are the namespaces of drills.
func (w *world) drills(t *testing.T) []string {
	t.Helper()
	l, err := w.Client.Dynamic.Resource(cluster.Namespaces).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, u := range l.Items {
		if strings.HasPrefix(u.GetName(), "drill-") {
			out = append(out, u.GetName())
		}
	}
	return out
}

// bounded is a context for what a test does, also after its end.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// with runs the Velero plan with changes.
func (w *world) with(t *testing.T, edits ...func(string) string) testbed.Option {
	t.Helper()
	if len(edits) == 0 {
		return testbed.Plan(w.Sample.VeleroPlan)
	}
	return testbed.Edited(t, w.Sample.VeleroPlan, func(s string) string {
		for _, e := range edits {
			if was := s; e(s) != was {
				s = e(s)
				continue
			}
			t.Fatal("an edit changed nothing")
		}
		return s
	})
}

// named makes the plan restore one backup.
func named(name string) func(string) string {
	return replaced("      integrity: {", "      restorePoint: {backup: "+name+"}\n      integrity: {")
}

func replaced(old, text string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, text, 1) }
}

// refused checks that a drill whose backup was not chosen ended before anything was created.
func (w *world) refused(t *testing.T, res runner.Result) {
	t.Helper()
	w.untouched(t, res, "CaptureRollbackPoint", "IsolateDrill", "RestoreIntoQuarantine")
}

// untouched checks that a run ended as Aborted, changed nothing and did not come to states.
func (w *world) untouched(t *testing.T, res runner.Result, states ...string) {
	t.Helper()
	if res.End.Outcome != run.Aborted {
		t.Errorf("outcome %s (%s %s), want %s", res.End.Outcome, res.End.Error, res.End.Cause, run.Aborted)
	}
	j, err := (&journal.Files{Dir: w.Store.Dir}).Open(t.Context(), res.Run.ID)
	if err != nil {
		t.Fatal(err)
	}
	if es, err := j.Entries(t.Context()); err != nil || len(es) > 0 {
		t.Errorf("the journal has %d changes (%v)", len(es), err)
	}
	for _, v := range res.Path {
		if slices.Contains(states, v.State) {
			t.Errorf("the run came to %s", v.State)
		}
	}
}

// says checks that the section's findings, or what was passed over, and the report hold a text.
func says(t *testing.T, res runner.Result, texts ...string) {
	t.Helper()
	b := res.Run.Backup
	if b == nil {
		t.Fatal("no restore point was looked for")
	}
	var all []string
	for _, f := range b.Findings {
		all = append(all, f.Severity+" "+f.Subject+" "+f.Problem)
	}
	all = append(all, b.Passed...)
	all = append(all, b.Reason, b.Message)
	md := testbed.Read(t, res.Run.Report.Markdown)
	for _, text := range texts {
		if !strings.Contains(strings.Join(all, "\n"), text) {
			t.Errorf("the section does not say %q:\n%s", text, strings.Join(all, "\n"))
		}
		if !strings.Contains(md, text) {
			t.Errorf("the report does not say %q:\n%s", text, md)
		}
	}
}
