package teardown

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/velero"
)

// restoredWorld is a drill into which Velero restored, beside production. The Restore has Velero's finalizer: it goes when alive is true.
func restoredWorld(t *testing.T, phase string, alive *bool) *steptest.World {
	t.Helper()
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	p.Spec.Inventory = &plan.Inventory{Velero: &plan.Velero{Location: "s3://b/p", Namespace: "velero", StorageLocation: "default"}}
	p.Spec.Drill.TeardownBudget = plan.Duration(3 * time.Minute)
	w := steptest.New(t, run.Drill, p, theirs,
		"apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pvc-theirs}\nspec: {persistentVolumeReclaimPolicy: Retain, claimRef: {namespace: shop, name: data-pg-0, uid: theirs}}",
		"apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {name: theirs, labels: {velero.io/restore-name: nightly}}\nspec: {deletionPolicy: Delete, volumeSnapshotRef: {namespace: shop, name: s}}",
		"apiVersion: velero.io/v1\nkind: Restore\nmetadata: {name: nightly, namespace: velero}")
	ns := "drill-" + w.Run.ID
	ch := w.Changer("Restore")
	for _, text := range []string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}",
		"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: " + w.Run.ID + "-fast}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + ns + ", namespace: velero}",
		"apiVersion: velero.io/v1\nkind: Restore\nmetadata: {name: " + ns + ", namespace: velero, finalizers: [" + velero.Finalizer + "]}\nstatus: {phase: " + phase + "}",
	} {
		if _, err := ch.Create(t.Context(), steptest.Object(t, text), "test"); err != nil {
			t.Fatal(err)
		}
	}
	label := "labels: {velero.io/restore-name: " + ns + "}"
	w.Put(cluster.VolumeSnapshotContents, "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {name: a5e88f, "+label+"}\nspec: {deletionPolicy: Delete, volumeSnapshotRef: {namespace: "+ns+", name: a5e88f}}")
	w.Put(cluster.VolumeSnapshots, "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: a5e88f, namespace: "+ns+", "+label+"}")
	w.Put(cluster.PersistentVolumeClaims, "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-pg-0, namespace: "+ns+", "+label+"}")
	w.Put(cluster.StatefulSets, "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: pg, namespace: "+ns+", "+label+"}")
	w.Put(cluster.PersistentVolumes, "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pvc-mine}\nspec: {persistentVolumeReclaimPolicy: Retain, claimRef: {namespace: "+ns+", name: data-pg-0, uid: mine}}")
	// The API server marks an object with a finalizer, and deletes it when the last one is gone.
	w.Fake.PrependReactor("delete", "restores", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if *alive {
			return false, nil, nil
		}
		have := tracked(w, velero.Restores, a.GetNamespace(), a.(clienttesting.DeleteAction).GetName())
		at := metav1.NewTime(w.Now())
		have.SetDeletionTimestamp(&at)
		return true, nil, w.Fake.Tracker().Update(velero.Restores, have, a.GetNamespace())
	})
	w.Fake.PrependReactor("patch", "restores", func(a clienttesting.Action) (bool, runtime.Object, error) {
		p := a.(clienttesting.PatchActionImpl)
		have := tracked(w, velero.Restores, a.GetNamespace(), p.GetName())
		if len(p.PatchOptions.DryRun) > 0 || !strings.Contains(string(p.GetPatch()), `"finalizers":[]`) {
			return false, nil, nil
		}
		return true, have, w.Fake.Tracker().Delete(velero.Restores, a.GetNamespace(), p.GetName())
	})
	// The driver deletes a volume with its claim when its policy says so.
	w.Fake.PrependReactor("delete", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
		pv := tracked(w, cluster.PersistentVolumes, "", "pvc-mine")
		if pv == nil {
			return false, nil, nil
		}
		if policy, _, _ := unstructured.NestedString(pv.Object, "spec", "persistentVolumeReclaimPolicy"); policy == "Delete" {
			return false, nil, w.Fake.Tracker().Delete(cluster.PersistentVolumes, "", "pvc-mine")
		}
		return false, nil, nil
	})
	return w
}

// tracked reads an object from within a reactor, where the fake itself is locked.
func tracked(w *steptest.World, gvr schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	o, err := w.Fake.Tracker().Get(gvr, namespace, name)
	if err != nil {
		return nil
	}
	return o.(*unstructured.Unstructured).DeepCopy()
}

func isAlive(yes bool) *bool { return &yes }

// production is what must be as it was.
func untouched(t *testing.T, w *steptest.World) {
	t.Helper()
	pv, content := w.Get(cluster.PersistentVolumes, "", "pvc-theirs"), w.Get(cluster.VolumeSnapshotContents, "", "theirs")
	if pv == nil || content == nil || w.Get(cluster.Secrets, "shop", "pg") == nil || w.Get(velero.Restores, "velero", "nightly") == nil {
		t.Fatal("something of production is gone")
	}
	for _, wr := range w.Writes() {
		if strings.Contains(wr, "theirs") || strings.Contains(wr, "nightly") || strings.Contains(wr, "shop/") {
			t.Errorf("%q reaches out of the drill", wr)
		}
	}
}

func TestVelerosObjectsGoInOrder(t *testing.T) {
	w := restoredWorld(t, "Completed", isAlive(true))
	n := len(w.Writes())
	u := both(t, w)
	if u.Phase != run.Undone || len(u.Left) > 0 {
		t.Fatalf("%+v", u)
	}
	ns := "drill-" + w.Run.ID
	want := []string{"patch volumesnapshotcontents a5e88f", "delete restores velero/" + ns, "patch persistentvolumes pvc-mine", "delete statefulsets " + ns + "/pg",
		"delete persistentvolumeclaims " + ns + "/data-pg-0", "delete volumesnapshots " + ns + "/a5e88f", "delete volumesnapshotcontents a5e88f", "delete configmaps velero/" + ns,
		"delete storageclasses " + w.Run.ID + "-fast", "delete namespaces " + ns}
	if d := cmp.Diff(want, w.Writes()[n:]); d != "" {
		t.Error(d)
	}
	untouched(t, w)
}

// A content that does not let go of the backup's snapshot stops the teardown before anything is deleted.
func TestTheBackupsSnapshotIsKept(t *testing.T) {
	w := restoredWorld(t, "Completed", isAlive(true))
	w.Fake.PrependReactor("patch", "volumesnapshotcontents", func(a clienttesting.Action) (bool, runtime.Object, error) {
		have := tracked(w, cluster.VolumeSnapshotContents, "", "a5e88f")
		if len(a.(clienttesting.PatchActionImpl).PatchOptions.DryRun) > 0 {
			return false, nil, nil
		}
		return true, have, nil // it says yes, and does nothing
	})
	if _, err := handle(t, w, "start"); fault.From(err).Code != fault.UndoIncomplete || !strings.Contains(err.Error(), "a5e88f") {
		t.Errorf("%v, expected UndoIncomplete", err)
	}
	for _, wr := range w.Writes() {
		if strings.HasPrefix(wr, "delete") {
			t.Errorf("%q before the snapshot was safe", wr)
		}
	}
}

// A Restore in progress is waited for: nothing around it is taken away meanwhile.
func TestARestoreInProgress(t *testing.T) {
	w := restoredWorld(t, "InProgress", isAlive(true))
	ns := "drill-" + w.Run.ID
	n := len(w.Writes())
	if u, err := handle(t, w, "start"); err != nil || u.Phase != run.Started {
		t.Fatalf("%+v %v", u, err)
	}
	if d := cmp.Diff([]string{"patch volumesnapshotcontents a5e88f"}, w.Writes()[n:]); d != "" {
		t.Error(d)
	}
	at := w.Now().Add(3 * time.Minute)
	w.Run.Teardown.Deadline = &at
	go func() { // Velero ends it
		r := w.Get(velero.Restores, "velero", ns)
		r.Object["status"] = map[string]any{"phase": "Completed"}
		_ = w.Fake.Tracker().Update(velero.Restores, r, "velero")
	}()
	if u, err := handle(t, w, "await"); err != nil || u.Phase != run.Undone {
		t.Errorf("%+v %v", u, err)
	}
	untouched(t, w)
}

// Velero is down: its Restore stays until its share of the budget is over, and is then released from the finalizer.
func TestVeleroIsDown(t *testing.T) {
	for _, tc := range []struct {
		name, phase string
		reason      string
		passes      []time.Duration
	}{
		{"in progress", "InProgress", "", []time.Duration{time.Minute, time.Minute}},
		{"in progress, and had its time", "InProgress", "BudgetExceeded", []time.Duration{0, time.Minute}},
		{"ended", "Completed", "", []time.Duration{0, time.Minute}},
		{"never taken up", "New", "", []time.Duration{0, time.Minute}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := restoredWorld(t, tc.phase, isAlive(false))
			if tc.reason != "" {
				w.Run.Restore = &run.Restore{Reason: tc.reason}
			}
			ns := "drill-" + w.Run.ID
			u, err := handle(t, w, "start")
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range tc.passes {
				w.Pass(d)
				s, err := w.Env.Open(t.Context(), "Teardown", w.Run)
				if err != nil {
					t.Fatal(err)
				}
				waits, err := restoredOf(s, s.OwnChanger(), u.Deadline).remove(t.Context(), t.Context(), false)
				if err != nil {
					t.Fatal(err)
				}
				gone, last := w.Get(velero.Restores, "velero", ns) == nil, i == len(tc.passes)-1
				if gone != last || (len(waits) == 0) != last {
					t.Fatalf("after %d waits: the Restore is gone: %v; %q", i+1, gone, waits)
				}
			}
			if u, err := handle(t, w, "await"); err != nil || u.Phase != run.Undone {
				t.Errorf("%+v %v", u, err)
			}
			untouched(t, w)
		})
	}
}

// Velero made the namespace again, with production's labels: it is taken for the run's own only because the journal says that this
// run made it and had Velero restore into it.
func TestANamespaceThatCameBack(t *testing.T) {
	w := restoredWorld(t, "Completed", isAlive(true))
	ns := "drill-" + w.Run.ID
	if u := both(t, w); u.Phase != run.Undone {
		t.Fatalf("%+v", u)
	}
	w.Put(cluster.Namespaces, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+", labels: {team: shop}}")
	w.Put(cluster.PersistentVolumes, "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pvc-mine}\nspec: {persistentVolumeReclaimPolicy: Retain, claimRef: {namespace: "+ns+", name: data-pg-0, uid: mine}}")
	w.Put(cluster.PersistentVolumeClaims, "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-pg-0, namespace: "+ns+"}")
	if u := both(t, w); u.Phase != run.Undone || w.Get(cluster.Namespaces, "", ns) != nil {
		t.Errorf("%+v", u)
	}
	untouched(t, w)

	w = restoredWorld(t, "Completed", isAlive(true))
	w.Put(cluster.Namespaces, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+", labels: {fallbackchain.io/run: another}}")
	if _, err := handle(t, w, "start"); err != nil {
		t.Fatal(err)
	}
	w.Pass(3 * time.Minute)
	if u, err := handle(t, w, "await"); err != nil || u.Phase != run.Incomplete || w.Get(cluster.Namespaces, "", ns) == nil || w.Get(cluster.StatefulSets, ns, "pg") == nil {
		t.Errorf("%+v %v", u, err)
	}
}

// What a Velero that died has left of the Restore in its own namespace goes too; another Restore's stays.
func TestVelerosRecords(t *testing.T) {
	w := restoredWorld(t, "Failed", isAlive(true))
	uid := string(w.Get(velero.Restores, "velero", "drill-"+w.Run.ID).GetUID())
	for name, labels := range map[string]string{"mine": "velero.io/restore-uid: " + uid + ", velero.io/resource-usage: DataUpload", "nightly-note": "velero.io/restore-uid: other, velero.io/resource-usage: DataUpload",
		"other-use": "velero.io/restore-uid: " + uid} {
		w.Put(cluster.ConfigMaps, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+", namespace: velero, labels: {"+labels+"}}")
	}
	if u := both(t, w); u.Phase != run.Undone {
		t.Errorf("%+v", u)
	}
	if w.Get(cluster.ConfigMaps, "velero", "mine") != nil || w.Get(cluster.ConfigMaps, "velero", "nightly-note") == nil || w.Get(cluster.ConfigMaps, "velero", "other-use") == nil {
		t.Error("its own note and no other is to go")
	}
	w.Run.Teardown = nil
	if u, err := handle(t, w, "start"); err != nil || u.Phase != run.NothingToUndo {
		t.Errorf("a second teardown: %+v %v", u, err)
	}
}

// Data that is still moved is Velero's to end: what stays is named.
func TestDataDownloadThatStays(t *testing.T) {
	w := restoredWorld(t, "Completed", isAlive(true))
	ns := "drill-" + w.Run.ID
	w.Put(velero.DataDownloads, "apiVersion: velero.io/v2alpha1\nkind: DataDownload\nmetadata: {name: dd, namespace: velero, labels: {velero.io/restore-name: "+ns+"}}\nstatus: {phase: Canceling}")
	if _, err := handle(t, w, "start"); err != nil {
		t.Fatal(err)
	}
	w.Pass(3 * time.Minute)
	u, err := handle(t, w, "await")
	if err != nil || u.Phase != run.Incomplete || !slices.Contains(u.Left, "DataDownload velero/dd (Velero's, Canceling)") {
		t.Errorf("%+v %v", u, err)
	}
}
