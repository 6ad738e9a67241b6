package backups

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/velero"
)

// TestOfNoCluster: a backup that does not say which cluster it is of is no inventory, and no drill is made from it, until its manifest
// says it.
func TestOfNoCluster(t *testing.T) {
	w := theWorld
	const name = "of-nobody"
	u := velero.NewBackup(velero.BackupOptions{Name: name, Namespace: stack.VeleroNamespace, StorageLocation: stack.StorageLocation, Namespaces: []string{sample.Namespace}})
	if phase := w.ended(t, u); phase != velero.Completed {
		t.Fatalf("the backup is %s", phase)
	}
	defer w.forget(t, name)
	check, plan := w.guard(t), w.with(t, named(name))

	res := w.Start(t, run.Drill, plan)
	w.untouched(t, res, "IsolateDrill", "RestoreIntoQuarantine")
	if r := res.Run.Rehearsal; r == nil || r.Phase != run.Refused {
		t.Errorf("rehearsal %+v", r)
	} else {
		for _, text := range []string{inventory.ReasonSourceUnknown, "fallback backup seal --backup " + name, backup.LabelCluster} {
			if !strings.Contains(r.Message, text) {
				t.Errorf("the refusal does not say %q: %s", text, r.Message)
			}
		}
	}
	check(res.Run.ID)
	w.inventoryIs(t, w.Start(t, run.Evaluate, plan), signal.Unknown, inventory.ReasonSourceUnknown)

	store, exp := w.place(t, w.Sample.VeleroPlan)
	if v, err := backup.Seal(t.Context(), store, name, exp.ClusterUID, exp, exp.Key.(backup.Signer)); err != nil {
		t.Fatalf("seal: %v (%+v)", err, v.Findings)
	}
	res = w.Start(t, run.Evaluate, plan)
	w.inventoryIs(t, res, signal.True, inventory.ReasonVerified)
	if r := res.Run.Rehearsal; r == nil || r.Phase != run.Passed {
		t.Errorf("rehearsal %+v", r)
	}
}

// inventoryIs checks what an evaluate says of the inventory.
func (w *world) inventoryIs(t *testing.T, res runner.Result, status signal.Status, reason string) {
	t.Helper()
	a := res.Run.Assess
	if a == nil {
		t.Fatalf("nothing was assessed: %s %s", res.End.Error, res.End.Cause)
	}
	if s := a.Signals[signal.InventoryVerified]; s.Status != status || s.Reason != reason {
		t.Errorf("the inventory is %s (%s: %s), want %s (%s)", s.Status, s.Reason, s.Message, status, reason)
	}
}

// ended makes a backup and returns the phase it ends in.
func (w *world) ended(t *testing.T, u *unstructured.Unstructured) velero.Phase {
	t.Helper()
	if _, err := w.Client.Dynamic.Resource(velero.Backups).Namespace(stack.VeleroNamespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var phase velero.Phase
	w.wait(t, velero.Backups, stack.VeleroNamespace, u.GetName(), func(u *unstructured.Unstructured) bool {
		if u != nil {
			phase = phaseOf(u)
		}
		return phase.Ended()
	})
	return phase
}

func phaseOf(u *unstructured.Unstructured) velero.Phase {
	text, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	return velero.Phase(text)
}
