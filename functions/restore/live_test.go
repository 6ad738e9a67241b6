package restore_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/functions/gate"
	"fallbackchain.io/fallback/functions/quarantine"
	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/functions/teardown"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/runid"
	"fallbackchain.io/fallback/shared/s3store"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/velero"
)

// live is the shop on a real control plane, with a real backup of it.
type live struct {
	stack *stack.Stack
	c     *cluster.Client
	plan  *plan.Plan
	store backup.Store
}

// TestLiveVelero runs all of it on one stack.
func TestLiveVelero(t *testing.T) {
	l := &live{stack: stacktest.Up(t, stack.Options{})}
	d, err := sample.Deploy(t.Context(), sample.Options{Kubeconfig: l.stack.Kubeconfig(), Dir: t.TempDir(), StackDir: l.stack.Layout().Dir})
	if err != nil {
		t.Fatal(err)
	}
	if l.plan, err = plan.Load(d.Plan); err != nil {
		t.Fatal(err)
	}
	b := l.stack.Backups()
	l.plan.Spec.Inventory = &plan.Inventory{MaxAge: plan.Duration(time.Hour), Velero: &plan.Velero{Location: b.Location(), Region: b.Region, Endpoint: b.Endpoint,
		CredentialsFile: b.CredentialsFile, Namespace: stack.VeleroNamespace, StorageLocation: stack.StorageLocation}}
	l.plan = l.plan.WithDefaults()
	steptest.Patient(l.plan)
	if l.c, err = cluster.FromKubeconfig(l.stack.Kubeconfig(), ""); err != nil {
		t.Fatal(err)
	}
	client, err := s3store.ClientFor(t.Context(), l.plan.Spec.Inventory.Velero)
	if err != nil {
		t.Fatal(err)
	}
	if l.store, err = s3store.NewBackups(client, b.Location()); err != nil {
		t.Fatal(err)
	}
	l.retainVolumes(t)
	l.deployActing(t)
	l.backup(t, "shop-1")
	t.Run("drill, and again", l.drillTwice)
	t.Run("data is moved", l.dataIsMoved)
	t.Run("velero dies in mid restore", l.veleroDies)
}

// retainVolumes gives production's volumes the reclaim policy that Velero gives to the restored ones as well.
func (l *live) retainVolumes(t *testing.T) {
	t.Helper()
	pvs, err := cluster.List[corev1.PersistentVolume](t.Context(), l.c, cluster.PersistentVolumes, "", metav1.ListOptions{})
	if err != nil || len(pvs) == 0 {
		t.Fatal(len(pvs), err)
	}
	for _, pv := range pvs {
		steptest.Written(t, func() error {
			_, err := l.c.Dynamic.Resource(cluster.PersistentVolumes).Patch(t.Context(), pv.Name, types.MergePatchType,
				[]byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`), metav1.PatchOptions{})
			return err
		})
	}
}

func (l *live) backup(t *testing.T, name string) {
	t.Helper()
	if _, err := sample.Backup(t.Context(), l.c, name); err != nil {
		t.Fatal(err)
	}
}

// drill is one run on it.
type drill struct {
	*testing.T
	l   *live
	env *step.Env
	run run.Run
}

func (l *live) drill(t *testing.T, edit func(*plan.Plan)) *drill {
	t.Helper()
	p := *l.plan
	if edit != nil {
		edit(&p)
	}
	noise := make([]byte, 8)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	id, err := runid.New(p.Metadata.Name, run.Drill, time.Now(), hex.EncodeToString(noise))
	if err != nil {
		t.Fatal(err)
	}
	v, err := backup.Verify(t.Context(), l.store, "shop-1", backup.Expectation{Namespace: p.Spec.Workload.Namespace, StatefulSet: p.Spec.Workload.StatefulSet, Now: time.Now()})
	if err != nil || v.Status != "True" {
		t.Fatalf("backup: %s %s %v", v.Reason, v.Message, err)
	}
	d := &drill{T: t, l: l, run: run.Run{ID: id, Mode: run.Drill, Plan: run.PlanRef{Name: p.Metadata.Name}, StartedAt: time.Now(),
		Backup: &run.Backup{Phase: run.Verified, Name: "shop-1", Listing: v.Listing, Location: p.Spec.Inventory.Velero.Location, Integrity: string(v.Integrity)}}}
	d.env = &step.Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { return &p, nil },
		Connect:  func(context.Context, *plan.Plan) (*cluster.Client, error) { return l.c, nil },
		Backups:  func(context.Context, *plan.Plan) (backup.Store, error) { return l.store, nil },
		Journals: &journal.Files{Dir: t.TempDir()}, Evidence: step.EvidenceFiles{Dir: t.TempDir()},
		Guard: func(*cluster.Client, *plan.Plan, string) change.Guard { return always{} },
		Now:   time.Now,
		Say:   func(i journal.Intent) { t.Logf("%s %s: %s", i.Verb, i.Object, i.Why) },
	}
	isolate := steptest.Retried((&quarantine.Handler{Env: d.env}).Handle)
	for _, op := range []string{"apply", "check"} {
		for again := true; again; again = d.run.Quarantine.Phase == run.Running {
			q, err := isolate(t.Context(), op, "Isolate", d.run)
			if err != nil {
				t.Fatal(op, err)
			}
			d.run.Quarantine = &q
		}
	}
	if d.run.Quarantine.Phase != run.Verified {
		t.Fatalf("isolation: %s %s", d.run.Quarantine.Phase, d.run.Quarantine.Message)
	}
	return d
}

type always struct{}

func (always) Check(context.Context) error { return nil }

func (d *drill) restore(op string) *run.Restore {
	d.Helper()
	r, err := d.restored(op)
	if err != nil {
		d.Fatal(op, err)
	}
	text, _ := json.Marshal(r)
	d.Logf("restore %s: %s", op, text)
	return r
}

// restored calls the restore until its phase is not Running.
func (d *drill) restored(op string) (*run.Restore, error) {
	handle := steptest.Retried((&restore.Handler{Env: d.env}).Handle)
	for {
		r, err := handle(d.Context(), op, "Restore", d.run)
		if err != nil {
			return nil, err
		}
		d.run.Restore = &r
		if r.Phase != run.Running {
			return &r, nil
		}
	}
}

func (d *drill) teardown(op string) *run.Undo {
	d.Helper()
	handle := steptest.Retried((&teardown.Handler{Env: d.env}).Handle)
	for {
		u, err := handle(d.Context(), op, "Teardown", d.run)
		if err != nil {
			d.Fatal(op, err)
		}
		d.run.Teardown = &u
		d.Logf("teardown %s: %s %s, left %q", op, u.Phase, u.Message, u.Left)
		if u.Phase != run.Running {
			return &u
		}
	}
}

// end tears the drill down and looks at what is left of it.
func (d *drill) end(before map[string][]string) {
	d.Helper()
	d.teardown("start")
	if u := d.teardown("await"); u.Phase != run.Undone || len(u.Left) > 0 {
		d.Fatalf("teardown: %s: %s", u.Phase, u.Message)
	}
	if diff := cmp.Diff(before, d.l.existing(d.T)); diff != "" {
		d.Errorf("the drill left or took something: %s", diff)
	}
}

// gate asks the restored servers for the rows that the plan expects.
func (d *drill) gate() {
	d.Helper()
	handle := steptest.Retried((&gate.Handler{Env: d.env}).Handle)
	for _, part := range []struct {
		op   string
		want run.Phase
	}{{"ready", run.Ready}, {"transaction", run.Passed}} {
		d.run.Gate = nil
		for {
			g, err := handle(d.Context(), part.op, "Gate", d.run)
			if err != nil {
				d.Fatal(part.op, err)
			}
			d.run.Gate = &g
			if g.Phase == run.Running {
				continue
			}
			if g.Phase != part.want {
				d.Fatalf("gate %s: %s %s", part.op, g.Phase, g.Message)
			}
			d.Logf("gate %s: %s, %d checks", part.op, g.Message, len(g.Checks))
			break
		}
	}
	d.run.Gate = nil
}

// existing is everything that a drill could leave behind, and the snapshots on the storage.
func (l *live) existing(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, gvr := range []schema.GroupVersionResource{cluster.Namespaces, cluster.PersistentVolumes, cluster.VolumeSnapshotContents, cluster.StorageClasses, cluster.VolumeSnapshots,
		velero.Restores, velero.DataDownloads, cluster.ConfigMaps} {
		all, err := l.c.Dynamic.Resource(gvr).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all.Items {
			out[gvr.Resource] = append(out[gvr.Resource], o.GetNamespace()+"/"+o.GetName())
		}
	}
	for _, dir := range []string{"snapshots", "volumes"} {
		on, err := os.ReadDir(filepath.Join(l.stack.Layout().CSIState(), dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range on {
			out["storage "+dir] = append(out["storage "+dir], e.Name())
		}
	}
	return out
}
