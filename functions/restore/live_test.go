package restore_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
		if _, err := l.c.Dynamic.Resource(cluster.PersistentVolumes).Patch(t.Context(), pv.Name, types.MergePatchType,
			[]byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *live) backup(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b := velero.NewBackup(velero.BackupOptions{Name: name, Namespace: stack.VeleroNamespace, StorageLocation: stack.StorageLocation, Namespaces: []string{l.plan.Spec.Workload.Namespace}})
	backups := l.c.Dynamic.Resource(velero.Backups).Namespace(stack.VeleroNamespace)
	if _, err := backups.Create(ctx, b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var phase velero.Phase
	ok, err := l.c.WaitFor(ctx, 0, []cluster.Source{{GVR: velero.Backups, Namespace: stack.VeleroNamespace}}, func(ctx context.Context) (bool, error) {
		have, err := cluster.Get[velero.Backup](ctx, l.c, velero.Backups, stack.VeleroNamespace, name)
		if err == nil {
			phase = have.Status.Phase
		}
		return phase.Ended(), err
	})
	if !ok || phase != velero.Completed {
		t.Fatalf("backup %s is %s: %v", name, phase, err)
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
	for _, op := range []string{"apply", "check"} {
		q, err := (&quarantine.Handler{Env: d.env}).Handle(t.Context(), op, "Isolate", d.run)
		if err != nil {
			t.Fatal(op, err)
		}
		d.run.Quarantine = &q
	}
	return d
}

type always struct{}

func (always) Check(context.Context) error { return nil }

func (d *drill) restore(op string) *run.Restore {
	d.Helper()
	for {
		r, err := (&restore.Handler{Env: d.env}).Handle(d.Context(), op, "Restore", d.run)
		if err != nil {
			d.Fatal(op, err)
		}
		d.run.Restore = &r
		if r.Phase != run.Running {
			text, _ := json.Marshal(r)
			d.Logf("restore %s: %s", op, text)
			return &r
		}
	}
}

func (d *drill) teardown(op string) *run.Undo {
	d.Helper()
	for {
		u, err := (&teardown.Handler{Env: d.env}).Handle(d.Context(), op, "Teardown", d.run)
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

// gate asks the restored servers for the rows that the plan expects.
func (d *drill) gate() {
	d.Helper()
	for op, want := range map[string]run.Phase{"ready": run.Ready, "transaction": run.Passed} {
		for {
			g, err := (&gate.Handler{Env: d.env}).Handle(d.Context(), op, "Gate", d.run)
			if err != nil {
				d.Fatal(op, err)
			}
			if g.Phase == run.Running {
				d.run.Gate = &g
				continue
			}
			if g.Phase != want {
				d.Fatalf("gate %s: %s %s", op, g.Phase, g.Message)
			}
			d.Logf("gate %s: %s, %d checks", op, g.Message, len(g.Checks))
			break
		}
		d.run.Gate = nil
	}
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

func (l *live) drillTwice(t *testing.T) {
	before := l.existing(t)
	for range 2 {
		d := l.drill(t, nil)
		d.restore("start")
		d.restore("start") // a second call finds the first
		r := d.restore("await")
		if r.Phase != run.Succeeded || r.Velero.Phase != string(velero.Completed) || r.Velero.Errors > 0 {
			t.Fatalf("restore: %s %s %+v", r.Phase, r.Message, r.Velero)
		}
		d.gate()
		// Where the claims are bound at once, Velero gives their volumes production's reclaim policy; here they wait for their pods.
		l.retainVolumes(t)
		d.teardown("start")
		if u := d.teardown("await"); u.Phase != run.Undone || len(u.Left) > 0 {
			t.Fatalf("teardown: %s: %s", u.Phase, u.Message)
		}
		if diff := cmp.Diff(before, l.existing(t)); diff != "" {
			t.Errorf("the drill left or took something: %s", diff)
		}
	}
}

// veleroDies kills Velero while it restores. The restore fails when its budget is over, the teardown goes on without Velero, and when
// Velero is back it restores nothing.
func (l *live) veleroDies(t *testing.T) {
	before := l.existing(t)
	d := l.drill(t, func(p *plan.Plan) {
		p.Spec.Drill.RestoreBudget, p.Spec.Drill.TeardownBudget = plan.Duration(15*time.Second), plan.Duration(60*time.Second)
	})
	d.restore("start")
	name := velero.RestoreName(d.run.ID)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// The first claim is there, the StatefulSet is not.
	claims := cluster.Source{GVR: cluster.PersistentVolumeClaims, Namespace: d.run.Restore.Namespace, Options: metav1.ListOptions{LabelSelector: velero.LabelRestore + "=" + name}}
	if ok, err := l.c.WaitFor(ctx, 0, []cluster.Source{claims}, func(ctx context.Context) (bool, error) {
		have, err := cluster.List[corev1.PersistentVolumeClaim](ctx, l.c, claims.GVR, claims.Namespace, claims.Options)
		return len(have) > 0, err
	}); err != nil || !ok {
		t.Fatalf("Velero restored no claim: %v", err)
	}
	if err := l.stack.KillComponent(stack.Velero); err != nil {
		t.Fatal(err)
	}
	r, err := cluster.Get[velero.Restore](ctx, l.c, velero.Restores, stack.VeleroNamespace, name)
	if err != nil || r.Status.Phase != velero.InProgress {
		t.Fatalf("the Restore is %q by now: %v", r.Status.Phase, err)
	}
	if r := d.restore("await"); r.Phase != run.Failed || r.Reason != "BudgetExceeded" {
		t.Fatalf("restore: %s %s %s", r.Phase, r.Reason, r.Message)
	}
	d.teardown("start")
	if u := d.teardown("await"); u.Phase != run.Undone || len(u.Left) > 0 {
		t.Fatalf("teardown: %s: %s", u.Phase, u.Message)
	}
	if diff := cmp.Diff(before, l.existing(t)); diff != "" {
		t.Errorf("the drill left or took something: %s", diff)
	}
	if err := l.stack.StartComponent(t.Context(), stack.Velero); err != nil {
		t.Fatal(err)
	}
	again := l.drill(t, nil)
	again.restore("start")
	if r := again.restore("await"); r.Phase != run.Succeeded {
		t.Fatalf("restore after Velero came back: %s %s", r.Phase, r.Message)
	}
	again.teardown("start")
	if u := again.teardown("await"); u.Phase != run.Undone {
		t.Fatalf("teardown: %s: %s", u.Phase, u.Message)
	}
	if diff := cmp.Diff(before, l.existing(t)); diff != "" {
		t.Errorf("something came back: %s", diff)
	}
}

// dataIsMoved stands in for the node agent, which moves data from the bucket: a DataDownload belongs to the Restore, and the test sets
// its status. Velero itself is done long before.
func (l *live) dataIsMoved(t *testing.T) {
	before := l.existing(t)
	downloads := l.c.Dynamic.Resource(velero.DataDownloads).Namespace(stack.VeleroNamespace)
	set := func(name, phase string) {
		t.Helper()
		patch := []byte(`{"status":{"phase":"` + phase + `","message":"said by the test"}}`)
		if u, err := downloads.Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		} else if got, _, _ := unstructured.NestedString(u.Object, "status", "phase"); got != phase {
			t.Fatalf("the status was not set: %v", u.Object)
		}
	}
	for _, tc := range []struct {
		end   string
		phase run.Phase
		says  string
	}{{"Completed", run.Succeeded, "pods are ready"}, {"Failed", run.Failed, "data of claim data-pg-1 (DataDownload moved) is Failed: said by the test"}} {
		d := l.drill(t, nil)
		d.restore("start")
		name := velero.RestoreName(d.run.ID)
		r, err := cluster.Get[velero.Restore](t.Context(), l.c, velero.Restores, stack.VeleroNamespace, name)
		if err != nil {
			t.Fatal(err)
		}
		dd := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "velero.io/v2alpha1", "kind": "DataDownload",
			"metadata": map[string]any{"name": "moved", "namespace": stack.VeleroNamespace, "labels": map[string]any{velero.LabelRestore: name},
				"ownerReferences": []any{map[string]any{"apiVersion": velero.APIVersion, "kind": "Restore", "name": name, "uid": string(r.UID), "controller": true}}},
			"spec": map[string]any{"backupStorageLocation": stack.StorageLocation, "operationTimeout": "10m0s", "snapshotID": "k", "sourceNamespace": "shop",
				"targetVolume": map[string]any{"namespace": d.run.Restore.Namespace, "pvc": "data-pg-1", "pv": ""}}}}
		if _, err := downloads.Create(t.Context(), dd, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		set("moved", "InProgress")
		type answer struct {
			r   run.Restore
			err error
		}
		done := make(chan answer, 1)
		go func() {
			r, err := (&restore.Handler{Env: d.env}).Handle(t.Context(), "await", "AwaitRestore", d.run)
			done <- answer{r, err}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		ok, err := l.c.WaitFor(ctx, 0, []cluster.Source{{GVR: velero.Restores, Namespace: stack.VeleroNamespace}}, func(ctx context.Context) (bool, error) {
			have, err := cluster.Get[velero.Restore](ctx, l.c, velero.Restores, stack.VeleroNamespace, name)
			return err == nil && have.Status.Phase == velero.Completed, err
		})
		cancel()
		if err != nil || !ok {
			t.Fatalf("the Restore is not Completed: %v", err)
		}
		if err := sample.AwaitReady(t.Context(), l.c, d.run.Restore.Namespace); err != nil {
			t.Fatal(err)
		}
		select {
		case a := <-done:
			t.Fatalf("the await ended before the data was there: %s %s %v", a.r.Phase, a.r.Message, a.err)
		default:
		}
		set("moved", tc.end)
		a := <-done
		if a.err != nil || a.r.Phase != tc.phase || !strings.Contains(a.r.Message, tc.says) || a.r.Velero.DataDownloads != 1 {
			t.Errorf("%s: %s %s %+v %v", tc.end, a.r.Phase, a.r.Message, a.r.Velero, a.err)
		}
		d.run.Restore = &a.r
		d.teardown("start")
		if u := d.teardown("await"); u.Phase != run.Undone || len(u.Left) > 0 {
			t.Fatalf("teardown: %s: %s", u.Phase, u.Message)
		}
		if diff := cmp.Diff(before, l.existing(t)); diff != "" {
			t.Errorf("the drill left or took something: %s", diff)
		}
	}
}
