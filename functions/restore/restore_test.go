package restore_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const statefulSet = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: pg}}
  template: {metadata: {labels: {app: pg}}, spec: {containers: [{name: pg, image: postgres}]}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}`

const cache = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: cache, namespace: shop}
spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}`

const ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, namespace: shop}"

// snapshot is a VolumeSnapshot and its content.
func snapshot(name, claim, taken string, ready bool, labels string) []string {
	at, _ := time.Parse(time.RFC3339, taken)
	return []string{
		"apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\nmetadata: {name: " + name + ", namespace: shop, labels: {" + labels + "}}\n" +
			"spec: {source: {persistentVolumeClaimName: " + claim + "}}\nstatus: {readyToUse: " + map[bool]string{true: "true", false: "false"}[ready] +
			", boundVolumeSnapshotContentName: c-" + name + ", creationTime: \"" + taken + "\"}",
		"apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotContent\nmetadata: {name: c-" + name + "}\n" +
			"spec: {driver: csi.example, deletionPolicy: Delete, sourceVolumeMode: Filesystem}\nstatus: {snapshotHandle: h-" + name +
			", restoreSize: 2147483648, creationTime: " + itoa(at.UnixNano()) + "}",
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

const fast = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\nprovisioner: csi.example\nreclaimPolicy: Delete"

func world(t *testing.T, objects ...string) *steptest.World {
	t.Helper()
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	p.Spec.Inventory = &plan.Inventory{Manifests: &plan.ManifestBundle{Path: "bundle"}, MaxAge: plan.Duration(24 * time.Hour)}
	p.Spec.Quarantine.Level = plan.LevelApplied
	w := steptest.New(t, run.Drill, p, objects...)
	w.Run.Quarantine = &run.Quarantine{Phase: run.Verified, Namespace: "drill-" + w.Run.ID, Wanted: "Applied", Level: "Applied"}
	w.Bundle = steptest.BundleOf(t, nil, nil, statefulSet, ingress)
	return w
}

func both(labels string) []string {
	return append(append(snapshot("s0", "data-pg-0", "2026-11-20T02:00:00Z", true, labels), snapshot("s1", "data-pg-1", "2026-11-20T02:00:00Z", true, labels)...), fast)
}

func start(t *testing.T, w *steptest.World) (run.Restore, error) {
	t.Helper()
	return (&restore.Handler{Env: w.Env}).Handle(t.Context(), "start", "RestoreIntoQuarantine", w.Run)
}

func claimOf(t *testing.T, w *steptest.World, name string) map[string]any {
	t.Helper()
	c := w.Get(cluster.PersistentVolumeClaims, "drill-"+w.Run.ID, name)
	if c == nil {
		t.Fatalf("claim %s was not made", name)
	}
	return c.Object["spec"].(map[string]any)
}

func TestStart(t *testing.T) {
	w := world(t, both("")...)
	out, err := start(t, w)
	if err != nil {
		t.Fatal(err)
	}
	ns := "drill-" + w.Run.ID
	vs := func(c string) string { return " " + ns + "/" + w.Run.ID + "-" + c }
	want := []string{
		"create VolumeSnapshotContent " + w.Run.ID + "-data-pg-0", "create VolumeSnapshot" + vs("data-pg-0"),
		"create VolumeSnapshotContent " + w.Run.ID + "-data-pg-1", "create VolumeSnapshot" + vs("data-pg-1"),
		"create PersistentVolumeClaim " + ns + "/data-pg-0", "create PersistentVolumeClaim " + ns + "/data-pg-1",
		"create StatefulSet " + ns + "/pg",
	}
	if d := cmp.Diff(want, w.Changes()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"Ingress web: it would take production's traffic"}, out.LeftOut); d != "" {
		t.Error(d)
	}
	if out.Phase != run.Started || out.Objects != 1 || len(out.Claims) != 2 || !out.Deadline.Equal(steptest.Start.Add(w.Plan.Spec.Drill.RestoreBudget.D())) {
		t.Errorf("section %+v", out)
	}
	content := w.Get(cluster.VolumeSnapshotContents, "", w.Run.ID+"-data-pg-0").Object["spec"]
	if d := cmp.Diff(map[string]any{"deletionPolicy": "Retain", "driver": "csi.example", "sourceVolumeMode": "Filesystem", "source": map[string]any{"snapshotHandle": "h-s0"},
		"volumeSnapshotRef": map[string]any{"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "name": w.Run.ID + "-data-pg-0", "namespace": ns}}, content); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]any{"accessModes": []any{"ReadWriteOnce"}, "storageClassName": "fast",
		"dataSource": map[string]any{"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": w.Run.ID + "-data-pg-0"},
		"resources":  map[string]any{"requests": map[string]any{"storage": "2Gi"}}}, claimOf(t, w, "data-pg-0")); d != "" {
		t.Errorf("the claim must be as large as its snapshot: %s", d)
	}
	sts := w.Get(cluster.StatefulSets, ns, "pg")
	if sts.GetLabels()[change.LabelRun] != w.Run.ID {
		t.Errorf("labels %v", sts.GetLabels())
	}
	if _, err := start(t, w); err != nil || len(w.Changes()) != len(want) {
		t.Errorf("a second start: %v, %q", err, w.Changes()[len(want):])
	}
	for _, wr := range w.Writes() {
		if !strings.Contains(wr, w.Run.ID) {
			t.Errorf("%q is outside the drill", wr)
		}
	}
}

// Each scenario says from which snapshot the first claim comes.
func TestSources(t *testing.T) {
	older := snapshot("old", "data-pg-0", "2026-11-19T02:00:00Z", true, "kind: nightly")
	newer := snapshot("new", "data-pg-0", "2026-11-20T08:00:00Z", true, "kind: hourly")
	unready := snapshot("now", "data-pg-0", "2026-11-21T01:00:00Z", false, "kind: hourly")
	bundled := []inventory.Snapshot{{Claim: "data-pg-0", Driver: "csi.example", Handle: "h-bundle", Size: "1Gi", TakenAt: steptest.Start.Add(-48 * time.Hour)},
		{Claim: "data-pg-1", Driver: "csi.example", Handle: "h-bundle-1", TakenAt: steptest.Start.Add(-48 * time.Hour)}}
	join := func(lists ...[]string) []string {
		out := []string{fast}
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	for _, tc := range []struct {
		name     string
		objects  []string
		selector map[string]string
		bundled  []inventory.Snapshot
		want     string
		err      fault.Code
	}{
		{name: "the newest", objects: join(older, newer), bundled: bundled, want: "h-new"},
		{name: "the newest that is ready", objects: join(older, newer, unready), bundled: bundled, want: "h-new"},
		{name: "the newest that the plan selects", objects: join(older, newer), selector: map[string]string{"kind": "nightly"}, bundled: bundled, want: "h-old"},
		{name: "the inventory's when production has none", objects: join(), bundled: bundled, want: "h-bundle"},
		{name: "the inventory's when the plan selects none", objects: join(newer), selector: map[string]string{"kind": "weekly"}, bundled: bundled, want: "h-bundle"},
		{name: "none at all", objects: join(), err: fault.ObjectsMissing},
		{name: "only an unready one", objects: join(unready), err: fault.ObjectsMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, tc.objects...)
			w.Plan.Spec.Rollback.Snapshots.Selector = tc.selector
			w.Bundle = steptest.BundleOf(t, tc.bundled, nil, statefulSet)
			_, err := start(t, w)
			if tc.err != "" {
				if fault.From(err).Code != tc.err || !strings.Contains(err.Error(), "data-pg-0") {
					t.Errorf("%v, expected %s", err, tc.err)
				}
				if len(w.Changes()) > 0 {
					t.Errorf("changes were made before it was refused: %q", w.Changes())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, _, _ := unstructured.NestedString(w.Get(cluster.VolumeSnapshotContents, "", w.Run.ID+"-data-pg-0").Object, "spec", "source", "snapshotHandle")
			if got != tc.want {
				t.Errorf("restored from %s, expected %s", got, tc.want)
			}
		})
	}
}

func TestOtherClaims(t *testing.T) {
	for name, tc := range map[string]struct {
		objects []string
		leftOut []string
	}{
		"with a snapshot":    {snapshot("c", "cache", "2026-11-20T02:00:00Z", true, ""), nil},
		"without a snapshot": {nil, []string{"PersistentVolumeClaim cache: no snapshot of it"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, append(both(""), tc.objects...)...)
			w.Bundle = steptest.BundleOf(t, nil, nil, statefulSet, cache)
			out, err := start(t, w)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.leftOut, out.LeftOut); d != "" {
				t.Error(d)
			}
			if made := w.Get(cluster.PersistentVolumeClaims, out.Namespace, "cache") != nil; made != (tc.leftOut == nil) {
				t.Errorf("the claim was made: %v", made)
			}
		})
	}
}

// A class that retains its volumes would leave a drill's disks behind.
func TestRetainingClass(t *testing.T) {
	objects := both("")
	objects[len(objects)-1] = strings.Replace(fast, "Delete", "Retain\nparameters: {type: gp3}\nvolumeBindingMode: WaitForFirstConsumer", 1)
	w := world(t, objects...)
	if _, err := start(t, w); err != nil {
		t.Fatal(err)
	}
	own := w.Run.ID + "-fast"
	if got := claimOf(t, w, "data-pg-1")["storageClassName"]; got != own {
		t.Errorf("class %v, expected %s", got, own)
	}
	c := w.Get(cluster.StorageClasses, "", own)
	if c.Object["reclaimPolicy"] != "Delete" || c.Object["provisioner"] != "csi.example" || c.Object["volumeBindingMode"] != "WaitForFirstConsumer" ||
		c.Object["parameters"].(map[string]any)["type"] != "gp3" || c.GetLabels()[change.LabelRun] != w.Run.ID {
		t.Errorf("class %v", c.Object)
	}
	if c := w.Get(cluster.StorageClasses, "", "fast"); c.Object["reclaimPolicy"] != "Retain" {
		t.Error("production's class was changed")
	}
}

func TestRefused(t *testing.T) {
	broken := func(m *inventory.Manifest, files fstest.MapFS) {
		files[m.Files[0].Path] = &fstest.MapFile{Data: []byte("tampered")}
	}
	for _, tc := range []struct {
		name string
		act  func(t *testing.T, w *steptest.World)
		want fault.Code
	}{
		{"without a quarantine", func(_ *testing.T, w *steptest.World) { w.Run.Quarantine = nil }, fault.IsolationBroken},
		{"quarantine not verified", func(_ *testing.T, w *steptest.World) { w.Run.Quarantine.Phase = run.Applied }, fault.IsolationBroken},
		{"quarantine of another namespace", func(_ *testing.T, w *steptest.World) { w.Run.Quarantine.Namespace = "shop" }, fault.IsolationBroken},
		{"quarantine below the plan's level", func(_ *testing.T, w *steptest.World) { w.Plan.Spec.Quarantine.Level = plan.LevelEnforced }, fault.IsolationBroken},
		{"a tampered file", func(t *testing.T, w *steptest.World) { w.Bundle = steptest.BundleOf(t, nil, broken, statefulSet) }, fault.InventoryBroken},
		{"another cluster's inventory", func(t *testing.T, w *steptest.World) {
			w.Bundle = steptest.BundleOf(t, nil, func(m *inventory.Manifest, _ fstest.MapFS) { m.ClusterUID = "other" }, statefulSet)
		}, fault.InventoryBroken},
		{"no inventory", func(_ *testing.T, w *steptest.World) { w.Bundle = nil }, fault.InventoryBroken},
		{"no StatefulSet in it", func(t *testing.T, w *steptest.World) { w.Bundle = steptest.BundleOf(t, nil, nil, ingress) }, fault.ObjectsMissing},
		{"the workload uses its nodes' network", func(t *testing.T, w *steptest.World) {
			w.Bundle = steptest.BundleOf(t, nil, nil, strings.Replace(statefulSet, "spec: {containers", "spec: {hostNetwork: true, containers", 1))
		}, fault.NotQualified},
		{"a class of another driver", func(_ *testing.T, w *steptest.World) {
			w.Put(cluster.StorageClasses, strings.Replace(fast, "csi.example", "csi.other", 1))
		}, fault.NotQualified},
		{"no class", func(_ *testing.T, w *steptest.World) { w.Drop(cluster.StorageClasses, "", "fast") }, fault.ObjectsMissing},
		{"not a drill", func(_ *testing.T, w *steptest.World) { w.Run.Mode = run.Recover }, fault.InputInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, both("")...)
			tc.act(t, w)
			if _, err := start(t, w); fault.From(err).Code != tc.want || err == nil {
				t.Errorf("%v, expected %s", err, tc.want)
			}
			for _, c := range w.Changes() {
				if strings.Contains(c, "StatefulSet") {
					t.Errorf("the workload was made: %q", w.Changes())
				}
			}
		})
	}
}

// A section stays small however large the workload is.
func TestSectionStaysSmall(t *testing.T) {
	var objects, docs []string
	long := strings.Repeat("x", 40)
	for i := range 60 {
		objects = append(objects, snapshot("s"+itoa(int64(i)), "data-pg-"+itoa(int64(i)), "2026-11-20T02:00:00Z", true, "")...)
		docs = append(docs, "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: "+long+itoa(int64(i))+", namespace: shop}")
	}
	w := world(t, append(objects, fast)...)
	w.Bundle = steptest.BundleOf(t, nil, nil, append(docs, strings.Replace(statefulSet, "replicas: 2", "replicas: 60", 1))...)
	out, err := start(t, w)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(out)
	if err != nil || len(b) > run.SectionLimit {
		t.Errorf("the section has %d bytes, at most %d are allowed (%v)", len(b), run.SectionLimit, err)
	}
	if !strings.Contains(out.Message, "60 claims") || !strings.Contains(out.LeftOut[len(out.LeftOut)-1], "40 more") {
		t.Errorf("it does not say how many there are: %s; %q", out.Message, out.LeftOut[len(out.LeftOut)-1])
	}
}

func TestAwait(t *testing.T) {
	bound := func(w *steptest.World, name, phase string) {
		w.Put(cluster.PersistentVolumeClaims, "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: "+name+", namespace: drill-"+w.Run.ID+"}\nstatus: {phase: "+phase+"}")
	}
	pod := func(w *steptest.World, name, ready string) {
		w.Put(cluster.Pods, "apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+", namespace: drill-"+w.Run.ID+"}\nspec: {nodeName: node-1}\nstatus: {phase: Running, conditions: [{type: Ready, status: \""+ready+"\"}]}")
	}
	for _, tc := range []struct {
		name    string
		act     func(w *steptest.World)
		late    bool
		phase   run.Phase
		message string
	}{
		{name: "everything is there", phase: run.Succeeded, message: "the restored claims are bound and the StatefulSet's pods are ready", act: func(w *steptest.World) {
			bound(w, "data-pg-0", "Bound")
			bound(w, "data-pg-1", "Bound")
			pod(w, "pg-0", "True")
			pod(w, "pg-1", "True")
		}},
		{name: "a pod is not ready", phase: run.Running, message: "pod pg-1 on node node-1 is not ready", act: func(w *steptest.World) {
			bound(w, "data-pg-0", "Bound")
			bound(w, "data-pg-1", "Bound")
			pod(w, "pg-0", "True")
			pod(w, "pg-1", "False")
		}},
		{name: "a claim is pending and the budget is over", late: true, phase: run.Failed, message: "claim data-pg-1 is Pending", act: func(w *steptest.World) {
			bound(w, "data-pg-0", "Bound")
			bound(w, "data-pg-1", "Pending")
			pod(w, "pg-0", "True")
			pod(w, "pg-1", "True")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, both("")...)
			out, err := start(t, w)
			if err != nil {
				t.Fatal(err)
			}
			tc.act(w)
			switch {
			case tc.late:
				w.Pass(w.Plan.Spec.Drill.RestoreBudget.D())
			case tc.phase == run.Running:
				at := w.Now().Add(20 * time.Millisecond)
				out.Deadline = &at
			}
			w.Run.Restore = &out
			got, err := (&restore.Handler{Env: w.Env}).Handle(t.Context(), "await", "AwaitRestore", w.Run)
			if err != nil {
				t.Fatal(err)
			}
			if got.Phase != tc.phase || !strings.Contains(got.Message, tc.message) || got.Rounds != 1 || got.Objects != out.Objects {
				t.Errorf("%+v", got)
			}
		})
	}
}
