package restore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/velero"
)

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
		d.doesNoHarm()
		d.gate()
		// Where the claims are bound at once, Velero gives their volumes production's reclaim policy; here they wait for their pods.
		l.retainVolumes(t)
		d.end(before)
	}
}

// veleroDies kills Velero while it restores. The restore fails when its budget is over, the teardown goes on without Velero, and when
// Velero is back it restores nothing.
func (l *live) veleroDies(t *testing.T) {
	before := l.existing(t)
	// Whatever fails here: the next one needs Velero.
	t.Cleanup(func() {
		if err := l.stack.StartComponent(context.WithoutCancel(t.Context()), stack.Velero); err != nil {
			t.Error(err)
		}
	})
	d := l.killedInMidRestore(t, before)
	if r := d.restore("await"); r.Phase != run.Failed || r.Reason != "BudgetExceeded" {
		t.Fatalf("restore: %s %s %s", r.Phase, r.Reason, r.Message)
	}
	d.end(before)
	if err := l.stack.StartComponent(t.Context(), stack.Velero); err != nil {
		t.Fatal(err)
	}
	again := l.drill(t, nil)
	again.restore("start")
	if r := again.restore("await"); r.Phase != run.Succeeded {
		t.Fatalf("restore after Velero came back: %s %s", r.Phase, r.Message)
	}
	again.end(before)
}

// killedInMidRestore begins drills until Velero is killed while one is restored: a machine that does much else may let Velero end it before
// the test had its turn.
func (l *live) killedInMidRestore(t *testing.T, before map[string][]string) *drill {
	t.Helper()
	for range 5 {
		d := l.drill(t, func(p *plan.Plan) {
			p.Spec.Drill.RestoreBudget, p.Spec.Drill.TeardownBudget = plan.Duration(15*time.Second), plan.Duration(2*time.Minute)
		})
		d.restore("start")
		name := velero.RestoreName(d.run.ID)
		// The first claim is there, the StatefulSet is not. The budget does not end this wait: the restore is awaited after it.
		claims := cluster.Source{GVR: cluster.PersistentVolumeClaims, Namespace: d.run.Restore.Namespace, Options: metav1.ListOptions{LabelSelector: velero.LabelRestore + "=" + name}}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		ok, err := l.c.WaitFor(ctx, 0, []cluster.Source{claims}, func(ctx context.Context) (bool, error) {
			have, err := cluster.List[corev1.PersistentVolumeClaim](ctx, l.c, claims.GVR, claims.Namespace, claims.Options)
			return len(have) > 0, err
		})
		cancel()
		if err != nil || !ok {
			t.Fatalf("Velero restored no claim: %v", err)
		}
		if err := l.stack.KillComponent(stack.Velero); err != nil {
			t.Fatal(err)
		}
		r, err := cluster.Get[velero.Restore](t.Context(), l.c, velero.Restores, stack.VeleroNamespace, name)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status.Phase == velero.InProgress {
			return d
		}
		t.Logf("the Restore is %q by now", r.Status.Phase)
		if err := l.stack.StartComponent(t.Context(), stack.Velero); err != nil {
			t.Fatal(err)
		}
		d.end(before)
	}
	t.Fatal("Velero was never killed while it restored")
	return nil
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
		target := d.run.Restore.Namespace
		type answer struct {
			r   *run.Restore
			err error
		}
		done := make(chan answer, 1)
		go func() {
			r, err := d.restored("await")
			done <- answer{r, err}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		ok, err := l.c.WaitFor(ctx, 0, []cluster.Source{{GVR: velero.Restores, Namespace: stack.VeleroNamespace}}, func(ctx context.Context) (bool, error) {
			have, err := cluster.Get[velero.Restore](ctx, l.c, velero.Restores, stack.VeleroNamespace, name)
			return err == nil && have.Status.Phase == velero.Completed, err
		})
		cancel()
		if err != nil || !ok {
			t.Fatalf("the Restore is not Completed: %v", err)
		}
		if err := sample.AwaitReady(t.Context(), l.c, target); err != nil {
			t.Fatal(err)
		}
		select {
		case a := <-done:
			t.Fatalf("the await ended before the data was there: %+v %v", a.r, a.err)
		default:
		}
		set("moved", tc.end)
		a := <-done
		if a.err != nil {
			t.Fatal(a.err)
		}
		if a.r.Phase != tc.phase || !strings.Contains(a.r.Message, tc.says) || a.r.Velero.DataDownloads != 1 {
			t.Errorf("%s: %s %s %+v", tc.end, a.r.Phase, a.r.Message, a.r.Velero)
		}
		d.end(before)
	}
}
