package rollbackpoint

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const driver = "csi.example.com"

func shop(source plan.SnapshotSource) *plan.Plan {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}
	p.Spec.Workload = plan.Workload{Namespace: "shop", StatefulSet: "pg"}
	p.Spec.Rollback.Snapshots.Source = source
	return p
}

const set = `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: pg, namespace: shop, uid: set}, spec: {replicas: 2,
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Delete},
  volumeClaimTemplates: [{metadata: {name: data}, spec: {resources: {requests: {storage: 1Gi}}}}]}}`

func claim(i int, phase string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data-pg-%d, namespace: shop, uid: claim-%d},
  spec: {volumeName: pv-%d, storageClassName: fast, resources: {requests: {storage: 1Gi}}}, status: {phase: %s}}`, i, i, i, phase)
}

func pv(i int) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-%d}, spec: {persistentVolumeReclaimPolicy: Delete, storageClassName: fast,
  capacity: {storage: 1Gi}, claimRef: {namespace: shop, name: data-pg-%d}, csi: {driver: %s, volumeHandle: vol-%d}}}`, i, i, driver, i)
}

func snapshot(name string, i int, taken string) []string {
	return []string{fmt.Sprintf(`{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshot, metadata: {name: %s, namespace: shop}, spec: {source: {persistentVolumeClaimName: data-pg-%d}},
  status: {readyToUse: true, creationTime: %q, boundVolumeSnapshotContentName: content-%s}}`, name, i, taken, name), contentOf("content-"+name, i, taken)}
}

func contentOf(name string, i int, taken string) string {
	at, err := time.Parse(time.RFC3339, taken)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotContent, metadata: {name: %s},
  spec: {driver: %s, deletionPolicy: Retain, volumeSnapshotRef: {namespace: shop, name: x}, source: {volumeHandle: vol-%d}},
  status: {readyToUse: true, snapshotHandle: handle-%s, restoreSize: 1073741824, creationTime: %d}}`, name, driver, i, name, at.UnixNano())
}

const class = "{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotClass, metadata: {name: only}, driver: " + driver + ", deletionPolicy: Retain}"

func all(i int, more ...[]string) []string {
	out := []string{set, class}
	for n := range i {
		out = append(out, claim(n, "Bound"), pv(n))
	}
	for _, m := range more {
		out = append(out, m...)
	}
	return out
}

func capture(w *steptest.World, h *Handler) run.RollbackPoint {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 100*time.Millisecond)
	defer cancel()
	h.Env = w.Env
	p, err := h.Handle(ctx, "capture", "CaptureRollbackPoint", w.Run)
	if err != nil {
		w.Fatal(err)
	}
	w.Run.RollbackPoint = &p
	return p
}

func taken(p run.RollbackPoint) []string {
	var out []string
	for _, s := range p.Snapshots {
		out = append(out, fmt.Sprintf("%s %s %s fresh=%v", s.Claim, s.Name, s.Handle, s.Fresh))
	}
	return out
}

func TestExisting(t *testing.T) {
	const monday, tuesday = "2026-11-16T00:00:00Z", "2026-11-17T00:00:00Z"
	for _, tc := range []struct {
		name    string
		objects []string
		change  func(*plan.Plan)
		want    []string
		claims  []run.ClaimPoint
		says    []string
	}{
		{name: "the newest of each claim", objects: all(2, snapshot("old", 0, monday), snapshot("new", 0, tuesday), snapshot("one", 1, monday)),
			want: []string{"data-pg-0 new handle-content-new fresh=false", "data-pg-1 one handle-content-one fresh=false"},
			claims: []run.ClaimPoint{
				{Name: "data-pg-0", UID: "claim-0", Volume: "pv-0", StorageClass: "fast", Size: "1Gi", ReclaimPolicy: "Delete"},
				{Name: "data-pg-1", UID: "claim-1", Volume: "pv-1", StorageClass: "fast", Size: "1Gi", ReclaimPolicy: "Delete"}}},
		{name: "a claim without a snapshot is said", objects: all(2, snapshot("one", 1, monday)),
			want: []string{"data-pg-1 one handle-content-one fresh=false"}, says: []string{"without a snapshot, whose data could not be put back: data-pg-0"}},
		{name: "a claim that does not exist is said", objects: all(1, snapshot("zero", 0, monday)),
			want: []string{"data-pg-0 zero handle-content-zero fresh=false"}, says: []string{"claims that do not exist: data-pg-1"}},
		{name: "a selector that chooses none", objects: all(1, snapshot("zero", 0, monday)),
			change: func(p *plan.Plan) { p.Spec.Rollback.Snapshots.Selector = map[string]string{"a": "b"} }, says: []string{"data-pg-0"}},
		{name: "everything is gone but volume and content", objects: []string{pv(0), contentOf("left", 0, monday), contentOf("older", 0, "2026-11-01T00:00:00Z"), contentOf("other", 7, tuesday)},
			want:   []string{"data-pg-0  handle-left fresh=false"},
			claims: []run.ClaimPoint{{Name: "data-pg-0", Volume: "pv-0", StorageClass: "fast", Size: "1Gi", ReclaimPolicy: "Delete"}},
			says:   []string{"StatefulSet shop/pg does not exist", "claims that do not exist: data-pg-0"}},
		{name: "nothing at all", says: []string{"does not exist"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := steptest.New(t, run.Recover, shop(plan.SnapshotsExisting), tc.objects...)
			if tc.change != nil {
				tc.change(w.Plan)
			}
			p := capture(w, &Handler{})
			if p.Phase != run.Captured {
				t.Fatalf("%+v", p)
			}
			if d := cmp.Diff(tc.want, taken(p)); d != "" {
				t.Error(d)
			}
			if tc.claims != nil {
				if d := cmp.Diff(tc.claims, p.Claims); d != "" {
					t.Error(d)
				}
			}
			for _, s := range tc.says {
				if !strings.Contains(p.Message, s) {
					t.Errorf("message %q does not say %q", p.Message, s)
				}
			}
			if hasSet := slices.Contains(tc.objects, set); hasSet != (p.Replicas != nil) || (hasSet && (*p.Replicas != 2 || p.WhenDeleted != "Retain" || p.WhenScaled != "Delete")) {
				t.Errorf("%+v", p)
			}
			if writes := w.Writes(); len(writes) > 0 {
				t.Errorf("it wrote %v", writes)
			}
		})
	}
}

// onlyClaims is all that the API server serves in these tests.
const onlyClaims = `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"persistentvolumeclaims","kind":"PersistentVolumeClaim","namespaced":true,"verbs":["list"]}]}`

func TestDrillOnlyReads(t *testing.T) {
	w := steptest.New(t, run.Drill, shop(plan.SnapshotsFresh), all(1, snapshot("zero", 0, "2026-11-16T00:00:00Z"))...)
	w.Discovery["/api/v1"] = onlyClaims
	p := capture(w, &Handler{})
	if p.Phase != run.Captured || len(p.Snapshots) != 1 || p.Snapshots[0].Fresh || !strings.HasPrefix(p.ProductionDigest, "sha256:") || p.ProductionCount != 1 {
		t.Errorf("%+v", p)
	}
	if writes := w.Writes(); len(writes) > 0 {
		t.Errorf("a drill wrote %v", writes)
	}
}

// TestADrillFromABackupNeedsNoSnapshots of production: nothing is said to be missing.
func TestADrillFromABackupNeedsNoSnapshots(t *testing.T) {
	p := shop(plan.SnapshotsFresh)
	p.Spec.Inventory = &plan.Inventory{Velero: &plan.Velero{Location: "s3://velero/shop"}}
	w := steptest.New(t, run.Drill, p, all(1)...)
	w.Discovery["/api/v1"] = onlyClaims
	got := capture(w, &Handler{})
	if got.Phase != run.Captured || len(got.Snapshots) != 0 || got.Message != "" || len(got.Claims) != 2 {
		t.Errorf("%+v", got)
	}
	for _, a := range w.Fake.Actions() {
		if a.GetResource().Group == "snapshot.storage.k8s.io" {
			t.Errorf("it asked for %s", a.GetResource().Resource)
		}
	}
}

// ready makes the fake's snapshots ready as soon as they are made, when they may be.
func ready(w *steptest.World, may func(name string) bool) {
	w.Fake.PrependReactor("create", "volumesnapshots", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		if may(u.GetName()) {
			u.Object["status"] = map[string]any{"readyToUse": true, "creationTime": "2026-11-21T02:00:01Z", "boundVolumeSnapshotContentName": "fresh"}
		}
		return false, nil, nil
	})
}

func yes(string) bool { return true }
func no(string) bool  { return false }

func TestFresh(t *testing.T) {
	fresh := contentOf("fresh", 0, "2026-11-21T02:00:01Z")
	old := snapshot("old", 0, "2026-11-16T00:00:00Z")
	later := func(w *steptest.World) { w.Pass(time.Hour) }
	aMinute := func(w *steptest.World) { w.Pass(DefaultFreshWait) }
	for _, tc := range []struct {
		name    string
		objects []string
		may     func(string) bool
		dry     bool
		// then happens after each Running.
		then   func(*steptest.World)
		phases []run.Phase
		want   []string
		says   string
		left   bool
	}{
		{name: "taken and ready", objects: all(1, old, []string{fresh}), may: yes, phases: []run.Phase{run.Captured},
			want: []string{"data-pg-0 ID-data-pg-0 handle-fresh fresh=true"}, left: true},
		{name: "not ready, an older one stands in after a minute", objects: all(1, old), may: no, then: aMinute, phases: []run.Phase{run.Running, run.Captured},
			want: []string{"data-pg-0 old handle-content-old fresh=false"}, says: "older ones stand in"},
		{name: "not ready, without an older one not for a minute", objects: all(1), may: no, then: aMinute, phases: []run.Phase{run.Running, run.Running}, left: true},
		{name: "not ready, without an older one until the deadline", objects: all(1), may: no, then: later, phases: []run.Phase{run.Running, run.Failed},
			says: "no older one", left: true},
		{name: "the driver has no class, an older one stands in", objects: slices.DeleteFunc(all(1, old), func(s string) bool { return s == class }), may: yes,
			phases: []run.Phase{run.Captured}, want: []string{"data-pg-0 old handle-content-old fresh=false"}, says: "VolumeSnapshotClass"},
		{name: "the driver has no class and there is no older one", objects: slices.DeleteFunc(all(1), func(s string) bool { return s == class }), may: yes,
			phases: []run.Phase{run.Failed}, says: "VolumeSnapshotClass"},
		{name: "a claim without a volume holds nothing", objects: []string{set, class, claim(0, "Pending")}, may: yes, phases: []run.Phase{run.Captured}, says: "without a snapshot"},
		{name: "a dry run takes none", objects: all(1, old), may: no, dry: true, phases: []run.Phase{run.Captured},
			want: []string{"data-pg-0 old handle-content-old fresh=false"}, says: "dry run"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := steptest.New(t, run.Recover, shop(plan.SnapshotsFresh), tc.objects...)
			w.Run.DryRun = tc.dry
			ready(w, tc.may)
			var p run.RollbackPoint
			for i, want := range tc.phases {
				if i > 0 {
					tc.then(w)
				}
				if p = capture(w, &Handler{}); p.Phase != want {
					t.Fatalf("call %d: %+v, want %s", i, p, want)
				}
			}
			for i := range tc.want {
				tc.want[i] = strings.ReplaceAll(tc.want[i], "ID", w.Run.ID)
			}
			if d := cmp.Diff(tc.want, taken(p)); d != "" || !strings.Contains(p.Message, tc.says) {
				t.Errorf("%s\nmessage %q, want %q", d, p.Message, tc.says)
			}
			if left := w.Get(cluster.VolumeSnapshots, "shop", w.Run.ID+"-data-pg-0") != nil; left != tc.left {
				t.Errorf("the run's own snapshot exists: %v", left)
			}
		})
	}
}

func TestClassFor(t *testing.T) {
	c := func(name, driver string, def bool) snapshotClass {
		k := snapshotClass{Driver: driver}
		k.Name = name
		if def {
			k.Annotations = map[string]string{defaultClass: "true"}
		}
		return k
	}
	for _, tc := range []struct {
		list []snapshotClass
		want string
	}{
		{nil, ""},
		{[]snapshotClass{c("a", "x", false)}, "a"},
		{[]snapshotClass{c("a", "y", true)}, ""},
		{[]snapshotClass{c("a", "x", false), c("b", "x", true)}, "b"},
		{[]snapshotClass{c("a", "x", false), c("b", "x", false)}, ""},
		{[]snapshotClass{c("a", "x", true), c("b", "x", true)}, ""},
	} {
		if got := classFor(tc.list, "x"); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.list, got, tc.want)
		}
	}
}

func TestUnknownOperation(t *testing.T) {
	if _, err := (&Handler{}).Handle(t.Context(), "take", "CaptureRollbackPoint", run.Run{}); fault.From(err).Code != fault.Internal {
		t.Errorf("%v", err)
	}
}
