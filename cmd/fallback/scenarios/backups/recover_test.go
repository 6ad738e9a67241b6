package backups

import (
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
)

// TestRecover: the namespace is deleted with its volumes, and comes back from the backup with the rows it had then.
func TestRecover(t *testing.T) {
	w := theWorld
	name := w.backup(t)
	t.Cleanup(func() {
		if t.Failed() {
			w.Reset(t)
			w.newest = ""
		}
	})
	w.settle(t, sample.Namespace)
	around := w.surroundings(t)
	w.lose(t)

	res := w.Start(t, run.Recover, w.with(t))
	if res.End.Outcome != run.Recovered {
		t.Fatalf("outcome %s (%s %s)", res.End.Outcome, res.End.Error, res.End.Cause)
	}
	if got := testbed.Tiers(res); !slices.Equal(got, []string{"ControlPlaneReconcile"}) {
		t.Errorf("tiers %v", got)
	}
	if b := res.Run.Backup; b.Name != name || b.Integrity != "True" {
		t.Errorf("backup %+v, want %s", b, name)
	}
	if rows := w.read(t, sample.Namespace); !maps.Equal(rows, w.rows) {
		t.Errorf("rows %v, want %v", rows, w.rows)
	}
	g := res.Run.Gate
	if g.HeartbeatAt == nil || !g.HeartbeatAt.Equal(w.beat) || g.RPOMS == nil {
		t.Fatalf("gate %+v, want the heartbeat %s", g, w.beat)
	}
	at := res.Run.Trigger.At
	if at.IsZero() {
		at = res.Run.StartedAt
	}
	if want := at.Sub(w.beat).Milliseconds(); *g.RPOMS != want || want <= 0 {
		t.Errorf("RPO %d ms, want %d ms", *g.RPOMS, want)
	}
	if v := res.Run.Report.RPO; v == nil || v.MeasuredMS != *g.RPOMS || v.Met == nil || !*v.Met {
		t.Errorf("the report's RPO %+v", v)
	}
	w.verifies(t, name)
	w.onlyBack(t, res.Run.ID, around)
	w.order(t, 3001, 1) // the shop goes on
}

// onlyBack checks what a recover has changed outside of the namespace: other volumes instead of those that were lost, and, for each, the
// snapshot of the backup that it is made from, which goes away with neither.
func (w *world) onlyBack(t *testing.T, id string, around []string) {
	t.Helper()
	contents := 0
	for line := range strings.Lines(difference(around, w.surroundings(t))) {
		switch kind, rest, _ := strings.Cut(line[2:], " "); {
		case kind == "persistentvolumes", kind == "volumes":
		case kind == "volumesnapshotcontents" && line[0] == '+' && strings.HasPrefix(rest, id+"-") && strings.Contains(rest, "(Retain of "):
			contents++
		default:
			t.Errorf("the recover changed: %s", line)
		}
	}
	if contents != sample.Replicas {
		t.Errorf("%d snapshots of the backup are bound, want %d", contents, sample.Replicas)
	}
}

// lose deletes the namespace, and waits until its volumes are gone from the storage as well.
func (w *world) lose(t *testing.T) {
	t.Helper()
	var volumes []string
	l, err := w.Client.Dynamic.Resource(cluster.PersistentVolumes).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range l.Items {
		if ns, _, _ := unstructured.NestedString(u.Object, "spec", "claimRef", "namespace"); ns == sample.Namespace {
			volumes = append(volumes, u.GetName())
		}
	}
	if len(volumes) != sample.Replicas {
		t.Fatalf("volumes %v", volumes)
	}
	ctx := bounded(t)
	if err := sample.Empty(ctx, w.Client); err != nil {
		t.Fatal(err)
	}
	if err := w.Client.Dynamic.Resource(cluster.Namespaces).Delete(ctx, sample.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func(u *unstructured.Unstructured) bool { return u == nil }
	w.wait(t, cluster.Namespaces, "", sample.Namespace, gone)
	for _, v := range volumes {
		w.wait(t, cluster.PersistentVolumes, "", v, gone)
	}
}
