package snapshots_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/volume"
)

func world(t *testing.T, mode run.Mode, objects ...string) *steptest.World {
	t.Helper()
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	return steptest.New(t, mode, p, objects...)
}

func vs(name, claim, status, more string) string {
	return "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: " + name + ", namespace: shop" + more + "}\nspec: {source: {persistentVolumeClaimName: " + claim + "}}\nstatus: {" + status + "}"
}

func content(name, status string) string {
	return "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {name: " + name + "}\nspec: {driver: csi.example, sourceVolumeMode: Block}\nstatus: {" + status + "}"
}

func TestNewest(t *testing.T) {
	const at = `creationTime: "2026-11-20T0`
	for _, tc := range []struct {
		name     string
		objects  []string
		selector map[string]string
		claims   []string
		want     map[string]string // claim to handle
	}{
		{"the newest of each claim", []string{
			vs("a", "data-0", "readyToUse: true, boundVolumeSnapshotContentName: ca, "+at+`1:00:00Z"`, ""), content("ca", "snapshotHandle: ha"),
			vs("b", "data-0", "readyToUse: true, boundVolumeSnapshotContentName: cb, "+at+`2:00:00Z"`, ""), content("cb", "snapshotHandle: hb"),
			vs("c", "data-1", "readyToUse: true, boundVolumeSnapshotContentName: cc, "+at+`1:00:00Z"`, ""), content("cc", "snapshotHandle: hc"),
		}, nil, nil, map[string]string{"data-0": "hb", "data-1": "hc"}},
		{"only the claims that are asked for", []string{
			vs("a", "data-0", "readyToUse: true, boundVolumeSnapshotContentName: ca", ""), content("ca", "snapshotHandle: ha"),
			vs("c", "data-1", "readyToUse: true, boundVolumeSnapshotContentName: cc", ""), content("cc", "snapshotHandle: hc"),
		}, nil, []string{"data-1"}, map[string]string{"data-1": "hc"}},
		{"only those with the labels", []string{
			vs("a", "data-0", "readyToUse: true, boundVolumeSnapshotContentName: ca", ", labels: {kind: nightly}"), content("ca", "snapshotHandle: ha"),
			vs("b", "data-1", "readyToUse: true, boundVolumeSnapshotContentName: cb", ", labels: {kind: hourly}"), content("cb", "snapshotHandle: hb"),
		}, map[string]string{"kind": "nightly"}, nil, map[string]string{"data-0": "ha"}},
		{"not ready, not bound, being deleted, without content or handle", []string{
			vs("a", "d", "readyToUse: false, boundVolumeSnapshotContentName: ca", ""), content("ca", "snapshotHandle: ha"),
			vs("b", "d", "readyToUse: true", ""),
			vs("c", "d", "boundVolumeSnapshotContentName: ca", ""),
			vs("e", "d", "readyToUse: true, boundVolumeSnapshotContentName: ca", `, deletionTimestamp: "2026-11-20T01:00:00Z"`),
			vs("f", "d", "readyToUse: true, boundVolumeSnapshotContentName: missing", ""),
			vs("g", "d", "readyToUse: true, boundVolumeSnapshotContentName: cg", ""), content("cg", ""),
		}, nil, nil, map[string]string{}},
		{"a newer one without content gives way to an older one", []string{
			vs("a", "d", "readyToUse: true, boundVolumeSnapshotContentName: ca, "+at+`1:00:00Z"`, ""), content("ca", "snapshotHandle: ha"),
			vs("b", "d", "readyToUse: true, boundVolumeSnapshotContentName: missing, "+at+`2:00:00Z"`, ""),
		}, nil, nil, map[string]string{"d": "ha"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, run.Recover, tc.objects...)
			got, err := snapshots.Newest(t.Context(), w.Cluster, "shop", tc.selector, tc.claims)
			if err != nil {
				t.Fatal(err)
			}
			handles := map[string]string{}
			for c, s := range got {
				handles[c] = s.Handle
				if s.Claim != c || s.Driver != "csi.example" || s.Namespace != "shop" || s.Name == "" {
					t.Errorf("%+v", s)
				}
			}
			if d := cmp.Diff(tc.want, handles); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNewestWithoutSnapshotAPI(t *testing.T) {
	w := world(t, run.Recover)
	fail := error(apierrors.NewNotFound(cluster.VolumeSnapshots.GroupResource(), ""))
	w.Fake.PrependReactor("list", "volumesnapshots", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, fail })
	if got, err := snapshots.Newest(t.Context(), w.Cluster, "shop", nil, nil); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	fail = apierrors.NewForbidden(cluster.VolumeSnapshots.GroupResource(), "", nil)
	if _, err := snapshots.Newest(t.Context(), w.Cluster, "shop", nil, nil); fault.From(err).Code != fault.PermissionDenied {
		t.Errorf("%v: what may not be read is not nothing", err)
	}
}

func like(t *testing.T) *corev1.PersistentVolumeClaim {
	t.Helper()
	c, err := cluster.Decode[corev1.PersistentVolumeClaim](steptest.Object(t, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data-pg-0
  namespace: shop
  uid: u
  resourceVersion: "5"
  labels: {app: pg}
  annotations: {pv.kubernetes.io/bind-completed: "yes", volume.kubernetes.io/selected-node: node-1, note: kept}
  finalizers: [kubernetes.io/pvc-protection]
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: fast
  volumeName: pv-0
  dataSource: {kind: VolumeSnapshot, name: old, apiGroup: snapshot.storage.k8s.io}
  dataSourceRef: {kind: VolumeSnapshot, name: old, apiGroup: snapshot.storage.k8s.io}
  resources: {requests: {storage: 5Gi}}
status: {phase: Bound}`))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaim(t *testing.T) {
	want := func(size string) map[string]any {
		return steptest.Object(t, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data-pg-0, namespace: drill, labels: {app: pg}, annotations: {note: kept}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: fast
  dataSource: {kind: VolumeSnapshot, name: s, apiGroup: snapshot.storage.k8s.io}
  resources: {requests: {storage: `+size+`}}`).Object
	}
	for size, expected := range map[string]string{"": "5Gi", "1Gi": "5Gi", "5Gi": "5Gi", "6Gi": "6Gi"} {
		got, err := snapshots.Claim(like(t), "drill", "data-pg-0", run.Snapshot{Name: "s", Namespace: "drill", Size: size})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want(expected), got.Object); d != "" {
			t.Errorf("snapshot of %q: %s", size, d)
		}
	}
	from := like(t)
	from.Annotations[change.AnnotationTakenAt] = "2020-01-01T00:00:00Z" // it was itself made from a snapshot, of another time
	dated, err := snapshots.Claim(from, "drill", "data-pg-0", run.Snapshot{Name: "s", Namespace: "drill", TakenAt: steptest.Start})
	if err != nil || dated.GetAnnotations()[change.AnnotationTakenAt] != "2026-11-21T02:00:00Z" || dated.GetAnnotations()["note"] != "kept" {
		t.Errorf("%v %v", dated.GetAnnotations(), err)
	}
	onVolume, err := snapshots.ClaimOnVolume(from, "shop", "data-pg-0", "pv-7")
	if _, has := onVolume.GetAnnotations()[change.AnnotationTakenAt]; err != nil || has {
		t.Errorf("a claim on a kept volume says when a snapshot was taken (%v)", err)
	}
	for name, s := range map[string]run.Snapshot{"in another namespace": {Name: "s", Namespace: "shop"}, "without a name": {Namespace: "drill"}, "of no size": {Name: "s", Namespace: "drill", Size: "big"}} {
		if _, err := snapshots.Claim(like(t), "drill", "data-pg-0", s); err == nil {
			t.Errorf("a snapshot %s was taken", name)
		}
	}
	c, err := snapshots.ClaimOnVolume(like(t), "shop", "data-pg-0", "pv-7")
	if err != nil {
		t.Fatal(err)
	}
	spec := c.Object["spec"].(map[string]any)
	if spec["volumeName"] != "pv-7" || spec["dataSource"] != nil || spec["dataSourceRef"] != nil {
		t.Errorf("%v", spec)
	}
	if _, err := snapshots.ClaimOnVolume(&corev1.PersistentVolumeClaim{}, "shop", "x", "pv"); err == nil {
		t.Error("a claim of no size was made")
	}
}

func TestImport(t *testing.T) {
	src := run.Snapshot{Claim: "data-pg-0", Name: "s", Namespace: "shop", Content: "c", Handle: "h", Driver: "csi.example", Size: "1Gi", TakenAt: steptest.Start.Add(-time.Hour)}
	w := world(t, run.Drill, content("c", "snapshotHandle: h"))
	ns := "drill-" + w.Run.ID
	got, err := snapshots.Import(t.Context(), w.Changer("Restore"), src, ns)
	if err != nil {
		t.Fatal(err)
	}
	want := src
	want.Name, want.Namespace, want.Content = w.Run.ID+"-data-pg-0", ns, w.Run.ID+"-data-pg-0"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	spec := w.Get(cluster.VolumeSnapshotContents, "", got.Content).Object["spec"].(map[string]any)
	if spec["deletionPolicy"] != "Retain" || spec["sourceVolumeMode"] != "Block" {
		t.Errorf("content %v: deleting it must leave the snapshot, and its volume mode is the source's", spec)
	}
	if again, err := snapshots.Import(t.Context(), w.Changer("Restore"), src, ns); err != nil || again != got || len(w.Changes()) != 2 {
		t.Errorf("a second import: %+v %v %q", again, err, w.Changes())
	}
	gone := src
	gone.Claim, gone.Content = "data-pg-1", "gone"
	if _, err := snapshots.Import(t.Context(), w.Changer("Restore"), gone, ns); err != nil {
		t.Errorf("the object is gone, the snapshot may not be: %v", err)
	}
	for name, bad := range map[string]func(*run.Snapshot){
		"without a handle": func(s *run.Snapshot) { s.Handle = "" },
		"without a driver": func(s *run.Snapshot) { s.Driver = "" },
		"a name too long":  func(s *run.Snapshot) { s.Claim = strings.Repeat("x", 250) },
	} {
		s := src
		bad(&s)
		if _, err := snapshots.Import(t.Context(), w.Changer("Restore"), s, ns); err == nil {
			t.Errorf("imported %s", name)
		}
	}
}

func pv(policy, phase, claim, uid, more string) string {
	return "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-0, creationTimestamp: \"2026-11-20T01:00:00Z\"" + more + "}\nspec: {persistentVolumeReclaimPolicy: " + policy +
		", claimRef: {namespace: shop, name: " + claim + ", uid: \"" + uid + "\"}}\nstatus: {phase: " + phase + "}"
}

func TestRelease(t *testing.T) {
	for _, tc := range []struct {
		name, volume string
		ok, written  bool
	}{
		{"released", pv("Retain", "Released", "data", "old", ""), true, true},
		{"reserved by name already", pv("Retain", "Available", "data", "", ""), true, false},
		{"of another claim", pv("Retain", "Released", "other", "old", ""), false, false},
		{"would be deleted", pv("Delete", "Released", "data", "old", ""), false, false},
		{"still bound", pv("Retain", "Bound", "data", "old", ""), false, false},
		{"being deleted", pv("Retain", "Released", "data", "old", `, deletionTimestamp: "2026-11-20T01:00:00Z"`), false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, run.Recover, tc.volume)
			v, err := cluster.Decode[corev1.PersistentVolume](w.Get(cluster.PersistentVolumes, "", "pv-0"))
			if err != nil {
				t.Fatal(err)
			}
			err = snapshots.Release(t.Context(), w.Changer("Tier"), v, "shop", "data")
			if (err == nil) != tc.ok || (len(w.Changes()) == 1) != tc.written {
				t.Errorf("%v, %q", err, w.Changes())
			}
		})
	}
}

func TestRetained(t *testing.T) {
	made := func(name string, hour int, phase corev1.PersistentVolumePhase, namespace, claim string) corev1.PersistentVolume {
		return corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(steptest.Start.Add(time.Duration(hour) * time.Hour))},
			Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: namespace, Name: claim}}, Status: corev1.PersistentVolumeStatus{Phase: phase}}
	}
	gone := made("deleted", 9, corev1.VolumeReleased, "shop", "data")
	gone.DeletionTimestamp = &metav1.Time{Time: steptest.Start}
	f := &volume.Facts{Namespace: "shop", Volumes: []corev1.PersistentVolume{
		made("old", 1, corev1.VolumeReleased, "shop", "data"), made("new", 2, corev1.VolumeAvailable, "shop", "data"), made("bound", 3, corev1.VolumeBound, "shop", "data"),
		made("failed", 4, corev1.VolumeFailed, "shop", "data"), made("theirs", 5, corev1.VolumeReleased, "web", "data"), made("other", 6, corev1.VolumeReleased, "shop", "log"), gone, {},
	}}
	if got := snapshots.Retained(f, "data"); got == nil || got.Name != "new" {
		t.Errorf("%v, expected the newest that is free", got)
	}
	if got := snapshots.Retained(f, "none"); got != nil {
		t.Errorf("%v for a claim that has none", got)
	}
}
