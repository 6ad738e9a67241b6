package backups

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/velero"
)

// TestTooOld: a restore point that is older than the plan's RPO is none.
func TestTooOld(t *testing.T) {
	w := theWorld
	name := w.backup(t)
	check := w.guard(t)
	res := w.Start(t, run.Drill, w.with(t, replaced("rpo: 24h", "rpo: 1s")))
	w.refused(t, res)
	says(t, res, name, "TooOld")
	if b := res.Run.Backup; b.Reason != backup.ReasonTooOld || b.Integrity != "True" {
		t.Errorf("backup %+v", b)
	}
	check(res.Run.ID)
}

// TestAnOlderOne: the newest backup does not verify, and the one before it is taken.
func TestAnOlderOne(t *testing.T) {
	w := theWorld
	older := w.backup(t)
	newest := w.take(t)
	key := "backups/" + newest + "/" + newest + ".tar.gz"
	repair := w.spoil(t, key, truncated)
	res := w.Start(t, run.Evaluate, w.with(t))
	repair()
	b := res.Run.Backup
	if res.End.Outcome != run.Evaluated || b.Phase != run.Verified || b.Name != older || b.Chosen != backup.ChosenLatest {
		t.Errorf("outcome %s, backup %+v; want %s", res.End.Outcome, b, older)
	}
	if !slices.ContainsFunc(b.Passed, func(p string) bool { return strings.HasPrefix(p, newest+": ") && strings.Contains(p, key) }) {
		t.Errorf("passed over %q", b.Passed)
	}
	says(t, res, newest, key)
	w.verifies(t, newest)
}

// TestFailedSnapshot: a backup without the snapshot of one volume is no restore point.
func TestFailedSnapshot(t *testing.T) {
	w := theWorld
	good := w.backup(t)
	const name, victim = "partial", 1
	handle := w.handle(t, sample.Claim(victim))
	dir := w.Stack.Layout().CSIState()
	if err := csidriver.SetFault(dir, "no-snapshot", csidriver.Fault{RPC: "CreateSnapshot", Code: "Internal", Message: "no snapshot today", VolumeID: handle}); err != nil {
		t.Fatal(err)
	}
	mend := once(t, func() error { return csidriver.ClearFault(dir, "no-snapshot") })
	w.partial(t, name)
	mend()
	defer w.forget(t, name)

	res := w.Start(t, run.Evaluate, w.with(t))
	if b := res.Run.Backup; b.Name != good || b.Phase != run.Verified || !strings.Contains(strings.Join(b.Passed, " "), name+": ") {
		t.Errorf("backup %+v, want %s", b, good)
	}
	check := w.guard(t)
	res = w.Start(t, run.Drill, w.with(t, named(name)))
	w.refused(t, res)
	says(t, res, "PartiallyFailed", sample.Claim(victim))
	check(res.Run.ID)
}

// handle is the storage's name of a claim's volume.
func (w *world) handle(t *testing.T, claim string) string {
	t.Helper()
	c, err := w.Client.Dynamic.Resource(cluster.PersistentVolumeClaims).Namespace(sample.Namespace).Get(t.Context(), claim, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := unstructured.NestedString(c.Object, "spec", "volumeName")
	pv, err := w.Client.Dynamic.Resource(cluster.PersistentVolumes).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	handle, _, _ := unstructured.NestedString(pv.Object, "spec", "csi", "volumeHandle")
	return handle
}

// partial takes a backup that gives up on a snapshot after a few seconds.
func (w *world) partial(t *testing.T, name string) {
	t.Helper()
	u := velero.NewBackup(velero.BackupOptions{Name: name, Namespace: stack.VeleroNamespace, StorageLocation: stack.StorageLocation, Namespaces: []string{sample.Namespace}})
	if err := unstructured.SetNestedField(u.Object, "3s", "spec", "csiSnapshotTimeout"); err != nil {
		t.Fatal(err)
	}
	if phase := w.ended(t, u); phase != velero.PartiallyFailed {
		t.Fatalf("the backup is %s, want %s", phase, velero.PartiallyFailed)
	}
}

var deleteRequests = schema.GroupVersionResource{Group: velero.Group, Version: "v1", Resource: "deletebackuprequests"}

// forget has Velero delete a backup with its snapshots.
func (w *world) forget(t *testing.T, name string) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": velero.APIVersion, "kind": "DeleteBackupRequest",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"backupName": name}}}
	if _, err := w.Client.Dynamic.Resource(deleteRequests).Namespace(stack.VeleroNamespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.wait(t, velero.Backups, stack.VeleroNamespace, name, func(u *unstructured.Unstructured) bool { return u == nil })
}

// wait watches an object until it is as it should be; nil: it is not there.
func (w *world) wait(t *testing.T, gvr schema.GroupVersionResource, namespace, name string, done func(*unstructured.Unstructured) bool) {
	t.Helper()
	ctx := bounded(t)
	ok, err := w.Client.WaitFor(ctx, 0, []cluster.Source{{GVR: gvr, Namespace: namespace, Options: metav1.ListOptions{FieldSelector: "metadata.name=" + name}}},
		func(ctx context.Context) (bool, error) {
			u, err := w.Client.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				u, err = nil, nil
			}
			return err == nil && done(u), err
		})
	if !ok {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		t.Fatalf("wait for %s %s: %v", gvr.Resource, name, err)
	}
}
