package undo_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/undo"
)

// terminating has deletes of a resource only mark the object, as a finalizer does, and calls then with each, if it is not nil.
func terminating(w *steptest.World, resource string, then func(*unstructured.Unstructured)) {
	w.Fake.PrependReactor("delete", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		have, err := w.Fake.Tracker().Get(a.GetResource(), a.GetNamespace(), a.(clienttesting.DeleteActionImpl).Name)
		if err != nil {
			return true, nil, err
		}
		u := have.DeepCopyObject().(*unstructured.Unstructured)
		now := metav1.NewTime(w.Now())
		u.SetDeletionTimestamp(&now)
		if then != nil {
			then(u)
		}
		return true, nil, w.Fake.Tracker().Update(a.GetResource(), u, a.GetNamespace())
	})
}

// onNudge answers nudges of a resource (not their dry runs) with err, having called then.
func onNudge(w *steptest.World, resource string, then func(namespace, name string) error) {
	w.Fake.PrependReactor("patch", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		p := a.(clienttesting.PatchActionImpl)
		if len(p.PatchOptions.DryRun) > 0 {
			return false, nil, nil
		}
		if !strings.Contains(string(p.GetPatch()), undo.NudgedAt) {
			return true, nil, errors.New("a patch that is no nudge")
		}
		return true, &unstructured.Unstructured{}, then(a.GetNamespace(), p.Name)
	})
}

func nudges(w *steptest.World) []string {
	return slices.DeleteFunc(w.Writes(), func(a string) bool { return !strings.HasPrefix(a, "patch ") })
}

// A snapshot and its content that stay though nothing needs them go when their controllers have something to look at.
func TestWhatStaysIsNudgedOnce(t *testing.T) {
	w := world(t)
	imports(t, w, "a", "b")
	for _, gvr := range []string{"volumesnapshots", "volumesnapshotcontents"} {
		terminating(w, gvr, nil)
	}
	onNudge(w, "volumesnapshots", func(namespace, name string) error {
		return w.Fake.Tracker().Delete(cluster.VolumeSnapshots, namespace, name)
	})
	onNudge(w, "volumesnapshotcontents", func(_, name string) error {
		return w.Fake.Tracker().Delete(cluster.VolumeSnapshotContents, "", name)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := undo.Entries(ctx, undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback"), Patience: time.Millisecond}, nil)
	if err != nil || !res.Complete() || len(res.PutBack) != 4 {
		t.Fatalf("%+v, %v", res, err)
	}
	a, b := w.Run.ID+"-a", w.Run.ID+"-b"
	got := nudges(w)
	slices.Sort(got)
	want := []string{"patch volumesnapshotcontents " + a, "patch volumesnapshotcontents " + b, "patch volumesnapshots shop/" + a, "patch volumesnapshots shop/" + b}
	if !slices.Equal(got, want) {
		t.Errorf("patched %q, expected %q", got, want)
	}
	es, err := w.Journal.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	patches := slices.DeleteFunc(es, func(e journal.Entry) bool { return e.Verb != journal.Patch })
	if len(patches) != 4 {
		t.Errorf("%d nudges in the journal, expected 4", len(patches))
	}
	for _, e := range patches {
		if e.Undo != journal.UndoNothing || e.State != "Rollback" || e.Done == nil || e.Pending() {
			t.Errorf("%+v, expected a change of this state that nobody undoes", e)
		}
	}
}

// A nudge that comes too late, or is not allowed, ends nothing.
func TestFaultsOfANudge(t *testing.T) {
	forbidden := apierrors.NewForbidden(cluster.VolumeSnapshots.GroupResource(), "x", errors.New("no patch for you"))
	for _, tc := range []struct {
		name    string
		nudge   error
		guard   error
		goes    bool
		waiting string
		want    fault.Code
	}{
		{name: "somebody else wrote: the controller has something to look at", nudge: apierrors.NewConflict(cluster.VolumeSnapshots.GroupResource(), "x", errors.New("changed")), goes: true},
		{name: "it is gone by now", nudge: apierrors.NewNotFound(cluster.VolumeSnapshots.GroupResource(), "x"), goes: true},
		{name: "it is not allowed, and goes on its own", nudge: forbidden, goes: true},
		{name: "it is not allowed, and the snapshot stays", nudge: forbidden, waiting: "could not be asked to look at it again: PermissionDenied"},
		{name: "the lease is lost", guard: fault.New(fault.LeaseLost, "change", nil), want: fault.LeaseLost},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t)
			imports(t, w, "a")
			terminating(w, "volumesnapshots", func(*unstructured.Unstructured) { w.Guard = tc.guard })
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			onNudge(w, "volumesnapshots", func(namespace, name string) error {
				if !tc.goes {
					cancel() // the slice is over
					return tc.nudge
				}
				return errors.Join(tc.nudge, w.Fake.Tracker().Delete(cluster.VolumeSnapshots, namespace, name))
			})
			res, err := undo.Entries(ctx, undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback"), Patience: time.Millisecond}, nil)
			if tc.want == "" && err != nil || tc.want != "" && fault.From(err).Code != tc.want {
				t.Fatalf("%v, expected %q", err, tc.want)
			}
			if tc.goes != res.Complete() {
				t.Errorf("%+v, complete: expected %t", res, tc.goes)
			}
			if tc.waiting != "" && !slices.ContainsFunc(res.Waiting, func(l string) bool {
				return strings.HasPrefix(l, "create VolumeSnapshot shop/"+w.Run.ID) && strings.Contains(l, tc.waiting)
			}) {
				t.Errorf("waiting %q, expected one that says %q", res.Waiting, tc.waiting)
			}
		})
	}
}

// What is needed, and what is not this run's by label and name, is never written to. The wait is bounded by time, because what is
// looked for is that nothing happens.
func TestNeverNudged(t *testing.T) {
	for _, tc := range []struct {
		name   string
		called string
		act    func(w *steptest.World, u *unstructured.Unstructured)
	}{
		{name: "a claim is being made from it", act: func(w *steptest.World, u *unstructured.Unstructured) {
			claim := steptest.Object(w, "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a, namespace: shop}\nspec: {dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: "+
				u.GetName()+"}}\nstatus: {phase: Pending}")
			if err := w.Fake.Tracker().Create(cluster.PersistentVolumeClaims, claim, "shop"); err != nil {
				w.Error(err)
			}
		}},
		{name: "it lost the run's label", act: func(_ *steptest.World, u *unstructured.Unstructured) { u.SetLabels(nil) }},
		{name: "its name is without the run ID", called: "short", act: func(*steptest.World, *unstructured.Unstructured) {}},
		{name: "it is not being deleted", act: func(_ *steptest.World, u *unstructured.Unstructured) { u.SetDeletionTimestamp(nil) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t)
			name := tc.called
			if name == "" {
				name = w.Run.ID + "-a"
			}
			must[*unstructured.Unstructured](t)(w.Changer("Tier").Create(t.Context(), steptest.Object(t,
				"apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: "+name+", namespace: shop}\nspec: {source: {volumeSnapshotContentName: c}}"), "test"))
			terminating(w, "volumesnapshots", func(u *unstructured.Unstructured) { tc.act(w, u) })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			res, err := undo.Entries(ctx, undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback"), Patience: time.Millisecond}, nil)
			if err != nil || len(res.Waiting) != 1 || len(deletes(w)) != 1 {
				t.Fatalf("%+v, %v; deleted %v", res, err, deletes(w))
			}
			if got := nudges(w); len(got) > 0 {
				t.Errorf("patched %q", got)
			}
		})
	}
}
