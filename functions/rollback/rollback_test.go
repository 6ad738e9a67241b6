package rollback

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const (
	set = `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg, namespace: shop, uid: set}, spec: {replicas: 1,
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}}}`
	pod   = `{apiVersion: v1, kind: Pod, metadata: {name: pg-0, namespace: shop}, spec: {nodeName: node-0}, status: {conditions: [{type: Ready, status: "True"}]}}`
	claim = `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data-pg-0, namespace: shop, uid: claim-0, labels: {app: shop}},
  spec: {volumeName: pv-0, resources: {requests: {storage: 1Gi}}}, status: {phase: Bound}}`
	pv = `{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-0}, spec: {persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: shop, name: data-pg-0}}}`
	vs = `{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshot, metadata: {name: good, namespace: shop}, spec: {source: {persistentVolumeClaimName: data-pg-0}},
  status: {readyToUse: true, boundVolumeSnapshotContentName: content}}`
	app       = `{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: shop, namespace: argocd}, spec: {syncPolicy: {automated: {}}}}`
	configMap = `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}, data: {a: before}}`
)

func shop() *plan.Plan {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}
	p.Spec.Workload = plan.Workload{Namespace: "shop", StatefulSet: "pg"}
	return p
}

// world is a workload whose gate said no, with the controllers that the fake API server lacks.
func world(t *testing.T, objects ...string) *steptest.World {
	w := steptest.New(t, run.Recover, shop(), objects...)
	one := int32(1)
	w.Run.RollbackPoint = &run.RollbackPoint{Phase: run.Captured, Replicas: &one,
		Claims:    []run.ClaimPoint{{Name: "data-pg-0", UID: "claim-0", Volume: "pv-0"}},
		Snapshots: []run.Snapshot{{Claim: "data-pg-0", Name: "good", Namespace: "shop", Handle: "h", Driver: "d", TakenAt: steptest.Start}}}
	w.Run.Gate = &run.Gate{Phase: run.Refused, Reason: "ChecksFailed"}
	// The StatefulSet's controller.
	w.Fake.PrependReactor("patch", "statefulsets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		p := a.(clienttesting.PatchActionImpl)
		if len(p.PatchOptions.DryRun) > 0 {
			return false, nil, nil
		}
		tracker := w.Fake.Tracker()
		switch {
		case strings.Contains(string(p.Patch), `"replicas":0`):
			_ = tracker.Delete(cluster.Pods, "shop", "pg-0")
		case strings.Contains(string(p.Patch), `"replicas":1`):
			_ = tracker.Create(cluster.Pods, steptest.Object(t, pod), "shop")
		}
		return false, nil, nil
	})
	// The provisioner.
	w.Fake.PrependReactor("create", "persistentvolumeclaims", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		u.Object["status"] = map[string]any{"phase": "Bound"}
		return false, nil, nil
	})
	return w
}

// roll rolls back to the end.
func roll(w *steptest.World) run.Undo {
	w.Helper()
	return rollFor(w, time.Minute)
}

// rollFor rolls back with an await of a bounded time.
func rollFor(w *steptest.World, within time.Duration) run.Undo {
	w.Helper()
	h := &Handler{Env: w.Env}
	u, err := h.Handle(w.Context(), "start", "Rollback", w.Run)
	if err != nil {
		w.Fatal(err)
	}
	w.Run.Rollback = &u
	if u.Phase != run.Started {
		return u
	}
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	u, err = h.Handle(ctx, "await", "AwaitRollback", w.Run)
	if err != nil {
		w.Fatal(err)
	}
	w.Run.Rollback = &u
	return u
}

// tierChange is a change that a tier made.
func tierChange(w *steptest.World, undo journal.Undo) {
	w.Helper()
	ref := change.Ref{GVR: cluster.ConfigMaps, Kind: "ConfigMap", Namespace: "shop", Name: "settings"}
	if _, err := w.Changer("ControlPlaneReconcile").Patch(w.Context(), ref, types.MergePatchType, []byte(`{"data":{"a":"after"}}`), "", "test", undo); err != nil {
		w.Fatal(err)
	}
}

func setting(w *steptest.World) string {
	v, _, _ := unstructured.NestedString(w.Get(cluster.ConfigMaps, "shop", "settings").Object, "data", "a")
	return v
}

func TestNothingToUndoAsksNobody(t *testing.T) {
	for _, tc := range []struct {
		name string
		gate *run.Gate
	}{
		{"no gate", nil},
		{"a gate that ended with a fault", &run.Gate{Phase: run.Running}},
		{"a role that is refused says nothing of the data", &run.Gate{Phase: run.Refused, Reason: "RoleRefused"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, set, pod, claim, pv, vs)
			w.Run.Gate = tc.gate
			vsnap := steptest.Object(t, strings.ReplaceAll(vs, "good", "own"))
			if _, err := w.Changer("CaptureRollbackPoint").CreateKept(t.Context(), vsnap, "a kept snapshot is nothing to undo"); err != nil {
				t.Fatal(err)
			}
			w.Fake.ClearActions()
			if u := roll(w); u.Phase != run.NothingToUndo || len(w.Fake.Actions()) > 0 {
				t.Errorf("%+v, asked %v", u, w.Fake.Actions())
			}
		})
	}
}

func TestTierChangesAreUndoneWithoutAVerdict(t *testing.T) {
	for undo, want := range map[journal.Undo]string{journal.UndoRestore: "before", journal.UndoNothing: "after"} {
		w := world(t, set, pod, claim, pv, vs, configMap)
		w.Run.Gate = nil
		tierChange(w, undo)
		// A change that needs no undoing is a change all the same: the run did not end without one.
		if u := roll(w); u.Phase != run.Undone || setting(w) != want || len(u.DataRestored) > 0 {
			t.Errorf("undo %s: %+v, setting %s", undo, u, setting(w))
		}
		if c := w.Get(cluster.PersistentVolumeClaims, "shop", "data-pg-0"); c.GetUID() != "claim-0" {
			t.Errorf("undo %s: the claim was replaced", undo)
		}
	}
}

func TestDataIsPutBack(t *testing.T) {
	w := world(t, set, pod, claim, pv, vs, app, configMap)
	w.Run.RollbackPoint.Owners = []string{"Application/shop"}
	w.Plan.Spec.Pause = []plan.PauseOwner{{APIVersion: "argoproj.io/v1alpha1", Kind: "Application", Namespace: "argocd", Name: "shop", Patch: `{"spec":{"syncPolicy":null}}`},
		{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Namespace: "shop", Name: "gone", Patch: `{}`}}
	tierChange(w, journal.UndoRestore)
	u := roll(w)
	if u.Phase != run.Undone || len(u.DataRestored) != 1 || !strings.Contains(u.DataRestored[0], "data-pg-0 from snapshot good of 2026-11-21T02:00:00Z") || !strings.Contains(u.Message, "volume pv-0") {
		t.Fatalf("%+v", u)
	}
	// What was made in which order: nothing is scaled before everything is kept, nothing deleted before the scale-down, nothing
	// scaled back before the tiers' changes are undone, and the owner is let go last.
	var order []string
	for _, wr := range w.Writes() {
		verb, rest, _ := strings.Cut(wr, " ")
		resource, _, _ := strings.Cut(rest, " ")
		order = append(order, verb+" "+resource)
	}
	want := []string{"patch configmaps", "patch applications", "patch persistentvolumes", "patch statefulsets", "patch statefulsets", "delete persistentvolumeclaims",
		"create persistentvolumeclaims", "patch configmaps", "patch statefulsets", "patch statefulsets", "patch applications"}
	if !slices.Equal(order, want) {
		t.Errorf("order\n%v, want\n%v", order, want)
	}
	c := w.Get(cluster.PersistentVolumeClaims, "shop", "data-pg-0")
	source, _, _ := unstructured.NestedString(c.Object, "spec", "dataSource", "name")
	if c.GetUID() == "claim-0" || source != "good" || c.GetLabels()["app"] != "shop" || c.GetLabels()[change.LabelRun] != "" {
		t.Errorf("claim %v", c.Object)
	}
	s := w.Get(cluster.StatefulSets, "shop", "pg")
	replicas, _, _ := unstructured.NestedInt64(s.Object, "spec", "replicas")
	policy, _, _ := unstructured.NestedString(s.Object, "spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
	_, automated, _ := unstructured.NestedMap(w.Get(schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}, "argocd", "shop").Object, "spec", "syncPolicy", "automated")
	reclaim, _, _ := unstructured.NestedString(w.Get(cluster.PersistentVolumes, "", "pv-0").Object, "spec", "persistentVolumeReclaimPolicy")
	if replicas != 1 || policy != "Delete" || !automated || reclaim != "Retain" || setting(w) != "before" {
		t.Errorf("replicas %d, whenScaled %s, automated %v, reclaim policy %s, setting %s", replicas, policy, automated, reclaim, setting(w))
	}
}

// A tier had made sure that the volume is kept, and the gate then refused its data: the claim is made anew, and the volume stays.
func TestAVolumeThatATierKeptStaysKept(t *testing.T) {
	for name, phase := range map[string]string{"the volume controller saw the claim go": "Released", "it did not see it yet": "Bound"} {
		t.Run(name, func(t *testing.T) {
			bound := strings.NewReplacer("name: pv-0}", "name: pv-0, uid: pv-0}", "name: data-pg-0}}", "name: data-pg-0, uid: claim-0}}, status: {phase: Bound}").Replace(pv)
			w := world(t, set, pod, claim, bound, vs)
			ref := change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: "pv-0"}
			retain := []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`)
			if _, err := w.Changer("DegradedStatefulSet").Patch(t.Context(), ref, types.MergePatchType, retain, "", "test", journal.UndoRestore); err != nil {
				t.Fatal(err)
			}
			w.Fake.PrependReactor("delete", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
				u := steptest.Object(t, strings.NewReplacer("Bound", phase, "Policy: Delete", "Policy: Retain").Replace(bound))
				_ = w.Fake.Tracker().Update(cluster.PersistentVolumes, u, "")
				return false, nil, nil
			})
			u := roll(w)
			if u.Phase != run.Undone || !strings.Contains(strings.Join(u.PutBack, "\n"), "stays Retain") {
				t.Errorf("%+v", u)
			}
			if reclaim, _, _ := unstructured.NestedString(w.Get(cluster.PersistentVolumes, "", "pv-0").Object, "spec", "persistentVolumeReclaimPolicy"); reclaim != "Retain" {
				t.Errorf("the policy is %s: the refused data would be deleted", reclaim)
			}
		})
	}
}

func TestIncomplete(t *testing.T) {
	for _, tc := range []struct {
		name    string
		objects []string
		change  func(*steptest.World)
		reason  string
		says    string
		// untouched: no claim was deleted, nothing was scaled.
		untouched bool
	}{
		{name: "an owner without a pause", change: func(w *steptest.World) { w.Run.RollbackPoint.Owners = []string{"HorizontalPodAutoscaler/pg"} },
			reason: string(fault.OwnerNotPaused), says: "HorizontalPodAutoscaler/pg", untouched: true},
		{name: "no snapshot at all", change: func(w *steptest.World) { w.Run.RollbackPoint.Snapshots = nil }, reason: string(fault.ObjectsMissing), untouched: true},
		{name: "the snapshot is not ready any more", objects: []string{set, pod, claim, pv, strings.ReplaceAll(vs, "readyToUse: true", "readyToUse: false"), configMap},
			reason: string(fault.ObjectsMissing), untouched: true},
		{name: "no rollback point", change: func(w *steptest.World) { w.Run.RollbackPoint = nil }, reason: string(fault.ObjectsMissing), untouched: true},
		{name: "one claim of two has no snapshot", change: func(w *steptest.World) {
			w.Run.RollbackPoint.Claims = append(w.Run.RollbackPoint.Claims, run.ClaimPoint{Name: "data-pg-1", UID: "claim-1"})
		}, reason: string(fault.UndoIncomplete), says: "1 changes"},
		{name: "the new claim is refused", change: func(w *steptest.World) {
			w.Fake.PrependReactor("create", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(cluster.PersistentVolumeClaims.GroupResource(), "data-pg-0", fmt.Errorf("quota"))
			})
		}, reason: string(fault.PermissionDenied), says: "quota"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects := tc.objects
			if objects == nil {
				objects = []string{set, pod, claim, pv, vs, configMap}
			}
			w := world(t, objects...)
			if tc.change != nil {
				tc.change(w)
			}
			tierChange(w, journal.UndoRestore)
			u := roll(w)
			if u.Phase != run.Incomplete || u.Reason != tc.reason || !strings.Contains(u.Message, tc.says) {
				t.Errorf("%+v", u)
			}
			c := w.Get(cluster.PersistentVolumeClaims, "shop", "data-pg-0")
			replicas, _, _ := unstructured.NestedInt64(w.Get(cluster.StatefulSets, "shop", "pg").Object, "spec", "replicas")
			if same := c != nil && c.GetUID() == "claim-0" && replicas == 1; same != tc.untouched {
				t.Errorf("untouched %v: claim %v, %d replicas", same, c, replicas)
			}
			// Where claims are missing the workload stays at zero: its StatefulSet would make them again, empty.
			if c == nil && replicas != 0 {
				t.Errorf("%d replicas with a claim missing", replicas)
			}
			if tc.untouched && setting(w) != "before" {
				t.Errorf("the tier's change was not undone: %s", setting(w))
			}
		})
	}
}

func TestClaimsOfTheRunAreNotPutBack(t *testing.T) {
	w := world(t, set, pod, pv, vs)
	w.Run.RollbackPoint.Claims[0].UID = "" // it did not exist before the run
	if u := roll(w); u.Phase != run.Incomplete || len(u.DataRestored) > 0 {
		t.Errorf("%+v", u)
	}
}

func TestBudgetAndLease(t *testing.T) {
	w := world(t, set, pod, claim, pv, vs)
	w.Fake.PrependReactor("create", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewServiceUnavailable("down")
	})
	if u := rollFor(w, 50*time.Millisecond); u.Phase != run.Running {
		t.Fatalf("%+v", u)
	}
	w.Pass(w.Plan.Spec.Rollback.Budget.D())
	u, err := (&Handler{Env: w.Env}).Handle(t.Context(), "await", "AwaitRollback", w.Run)
	if err != nil || u.Phase != run.Incomplete || u.Reason != string(fault.BudgetExceeded) {
		t.Errorf("%+v, %v", u, err)
	}
	w = world(t, set, pod, claim, pv, vs)
	w.Guard = fault.New(fault.LeaseLost, "test", nil)
	if _, err := (&Handler{Env: w.Env}).Handle(t.Context(), "start", "Rollback", w.Run); fault.From(err).Code != fault.LeaseLost {
		t.Errorf("%v, want LeaseLost", err)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	w := world(t, set, pod, claim, pv, vs)
	w.Run.DryRun = true
	var said []string
	w.Env.Say = func(i journal.Intent) { said = append(said, fmt.Sprintf("%s %s", i.Verb, i.Object.Kind)) }
	if u, err := (&Handler{Env: w.Env}).Handle(t.Context(), "start", "Rollback", w.Run); err != nil || u.Phase != run.Started {
		t.Errorf("%+v, %v", u, err)
	}
	if want := []string{"patch PersistentVolume", "patch StatefulSet", "patch StatefulSet", "delete PersistentVolumeClaim"}; !slices.Equal(said, want) || len(w.Writes()) > 0 {
		t.Errorf("said %v, wrote %v", said, w.Writes())
	}
}

func TestRefusedCalls(t *testing.T) {
	for _, tc := range []struct {
		op   string
		mode run.Mode
	}{{"undo", run.Recover}, {"start", run.Drill}, {"await", run.Evaluate}} {
		if _, err := (&Handler{}).Handle(t.Context(), tc.op, "Rollback", run.Run{Mode: tc.mode}); fault.From(err).Code != fault.Internal {
			t.Errorf("%s of a %s: %v", tc.op, tc.mode, err)
		}
	}
}
