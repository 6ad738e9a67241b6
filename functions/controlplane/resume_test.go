package controlplane

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

// TestWhatOneCallCannotMakeTheNextOneDoes, in the same order and without doing anything twice.
func TestWhatOneCallCannotMakeTheNextOneDoes(t *testing.T) {
	const many, first = 30, 7
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}
	p.Spec.Workload = plan.Workload{Namespace: "shop", StatefulSet: "pg"}
	p.Spec.Inventory = &plan.Inventory{Manifests: &plan.ManifestBundle{Path: "x"}, MaxAge: plan.Duration(1 << 50)}
	objects := []string{"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg, namespace: shop}, spec: {replicas: 1}}"}
	for i := range many {
		objects = append(objects, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: c%02d, namespace: shop}, data: {a: b}}", i))
	}
	w := steptest.New(t, run.Recover, p)
	w.Bundle = steptest.BundleOf(t, nil, nil, objects...)
	slice, over := context.WithCancel(t.Context())
	applied := map[string]int{}
	w.Fake.PrependReactor("patch", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		patch := a.(clienttesting.PatchActionImpl)
		if patch.GetPatchType() != types.ApplyPatchType || len(patch.PatchOptions.DryRun) > 0 {
			return false, nil, nil
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(patch.GetPatch()); err != nil {
			return true, nil, err
		}
		u.SetUID(types.UID("uid-" + patch.GetName()))
		applied[u.GetKind()+"/"+u.GetName()]++
		if len(applied) == first {
			over()
		}
		return true, u, w.Fake.Tracker().Create(a.GetResource(), u, a.GetNamespace())
	})
	open := func() *work {
		t.Helper()
		s, err := w.Env.Open(t.Context(), "ControlPlaneReconcile", w.Run)
		if err != nil {
			t.Fatal(err)
		}
		got, n, err := reconcile(t.Context(), slice, s, len(applied) > 0)
		if err != nil || n != many+1 {
			t.Fatalf("%d objects, %v", n, err)
		}
		return got
	}
	// The Namespace, then the first objects; the StatefulSet comes last.
	if got := open(); len(got.done) != first || got.left != many+2-first || w.Get(cluster.StatefulSets, "shop", "pg") != nil {
		t.Errorf("%d made, %d left", len(got.done), got.left)
	}
	// A call whose time is over before it began makes nothing.
	if got := open(); len(got.done) != 0 || got.left != many+2-first {
		t.Errorf("%d made, %d left", len(got.done), got.left)
	}
	slice = t.Context()
	if got := open(); len(got.done) != many+2-first || got.left != 0 {
		t.Errorf("%d made, %d left", len(got.done), got.left)
	}
	if got := open(); len(got.done) != 0 || got.left != 0 {
		t.Errorf("%d made, %d left", len(got.done), got.left)
	}
	for o, n := range applied {
		if n != 1 {
			t.Errorf("%s was applied %d times", o, n)
		}
	}
	if len(applied) != many+2 {
		t.Errorf("%d objects", len(applied))
	}
	if last := w.Changes()[many+1]; !strings.Contains(last, "StatefulSet") {
		t.Errorf("the last change is %s", last)
	}
}
