package backups

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/velero"
	"fallbackchain.io/fallback/statemachine/walk"
)

// TestVeleroStops: Velero is killed in the middle of a restore. The drill gives up at its budget and removes everything, and a Velero that
// is started again restores nothing of it.
func TestVeleroStops(t *testing.T) {
	w := theWorld
	name := w.backup(t)
	check := w.guard(t)
	start := once(t, func() error { return w.Stack.StartComponent(bounded(t), stack.Velero) })
	held, release := w.hold(t)
	restore := ""
	// Of the teardown's budget a third is for Velero, which does not answer.
	res := w.Start(t, run.Drill, w.with(t, replaced("drill: {restoreBudget: 2m, teardownBudget: 2m}", "drill: {restoreBudget: 10s, teardownBudget: 1m}")),
		testbed.At(walk.Entered, "AwaitRestore", func() {
			defer release()
			if all := w.drills(t); len(all) == 1 {
				restore = all[0] // the namespace and the Restore have one name
			}
			select {
			case <-held:
			case <-bounded(t).Done():
				t.Error("Velero did not come to the StatefulSet")
			}
			claims, err := w.Client.Dynamic.Resource(cluster.PersistentVolumeClaims).Namespace(restore).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(claims.Items) != sample.Replicas {
				t.Errorf("Velero is not in the middle of the restore: %v, %v", claims, err)
			}
			if err := w.Stack.KillComponent(stack.Velero); err != nil {
				t.Error(err)
			}
		}))
	if res.End.Outcome != run.RolledBack {
		t.Errorf("outcome %s (%s %s), want %s", res.End.Outcome, res.End.Error, res.End.Cause, run.RolledBack)
	}
	if r := res.Run.Restore; r == nil || r.Phase != run.Failed || r.Reason != "BudgetExceeded" || r.Velero == nil || velero.Phase(r.Velero.Phase).Ended() {
		t.Errorf("restore %+v", r)
	}
	if u := res.Run.Teardown; u == nil || u.Phase != run.Undone || len(u.Left) > 0 {
		t.Errorf("teardown %+v", u)
	}
	if md := testbed.Read(t, res.Run.Report.Markdown); !strings.Contains(md, restore) {
		t.Error("the report does not name the Restore")
	}
	check(res.Run.ID)

	start()
	// A Restore of nothing, made after Velero is back: when it has ended, Velero's controllers have seen what there is.
	marker := velero.NewRestore(velero.RestoreOptions{Name: "marker", Namespace: stack.VeleroNamespace, Backup: name, From: "nothing", To: "nothing-else",
		Resources: []string{"configmaps"}, OperationTimeout: time.Minute})
	restores := w.Client.Dynamic.Resource(velero.Restores).Namespace(stack.VeleroNamespace)
	if _, err := restores.Create(t.Context(), marker, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.wait(t, velero.Restores, stack.VeleroNamespace, "marker", func(u *unstructured.Unstructured) bool {
		return u != nil && phaseOf(u).Ended()
	})
	if all := w.drills(t); slices.Contains(all, restore) || len(all) > 0 {
		t.Errorf("namespaces of drills are back: %v", all)
	}
	if err := restores.Delete(t.Context(), "marker", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.wait(t, velero.Restores, stack.VeleroNamespace, "marker", func(u *unstructured.Unstructured) bool { return u == nil })
	check(res.Run.ID)
	w.verifies(t, name)
}
