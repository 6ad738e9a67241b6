package restore_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/velero"
)

func TestStartVelero(t *testing.T) {
	w, store := veleroWorld(t, backuptest.Spec{More: production})
	out, err := start(t, w)
	if err != nil {
		t.Fatal(err)
	}
	ns := "drill-" + w.Run.ID
	want := []string{"create StorageClass " + w.Run.ID + "-fast", "create ConfigMap velero/" + ns, "create Restore velero/" + ns}
	if d := cmp.Diff(want, w.Changes()); d != "" {
		t.Error(d)
	}
	spec := w.Get(velero.Restores, "velero", ns).Object["spec"].(map[string]any)
	kinds := []any{"configmaps", "cronjobs.batch", "deployments.apps", "limitranges", "persistentvolumeclaims", "rolebindings.rbac.authorization.k8s.io",
		"roles.rbac.authorization.k8s.io", "secrets", "serviceaccounts", "services", "statefulsets.apps", "volumesnapshots.snapshot.storage.k8s.io", "volumesnapshotcontents.snapshot.storage.k8s.io"}
	if d := cmp.Diff(map[string]any{"backupName": "b1", "includedNamespaces": []any{"shop"}, "namespaceMapping": map[string]any{"shop": ns}, "includedResources": kinds,
		"restorePVs": true, "preserveNodePorts": false, "existingResourcePolicy": "none", "itemOperationTimeout": w.Plan.Spec.Drill.RestoreBudget.D().String(),
		"resourceModifier": map[string]any{"kind": "ConfigMap", "name": ns}}, spec); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{
		"ConfigMap kube-root-ca.crt: each namespace gets its own",
		"Deployment agent: its pods use the node's own namespaces (hostNetwork), which no NetworkPolicy holds (it is restored without effect)",
		"Ingress web: it would take production's traffic",
		"RoleBinding ops: it binds nobody of the drill (it is restored without effect)",
		"Secret sh.helm.release.v1.shop.v1: Helm's record of production's release (it is restored without effect)",
		"Secret token: a token of production's service account (it is restored without effect)",
		"Service out: it points outside the quarantine (it is restored without effect)",
		"ServiceAccount default: each namespace gets its own",
		"StorageClass fast: cluster-scoped: a drill changes nothing outside its namespace",
	}, slices.Sorted(slices.Values(out.LeftOut))); d != "" {
		t.Error(d)
	}
	if out.Phase != run.Started || out.Velero == nil || out.Velero.Name != ns || len(out.Claims) != 2 || out.Claims[0].Handle != "snap-b1-0" {
		t.Errorf("%+v", out)
	}
	contents, err := backup.Read(t.Context(), store, "b1", w.Run.Backup.Listing, "shop")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]any{"app.kubernetes.io/managed-by": "fallback-chain", "fallbackchain.io/run": w.Run.ID, "fallbackchain.io/plan": "shop"}
	got := restored(t, w, contents.Objects)
	if d := cmp.Diff(map[string]any{"name": "web", "namespace": "shop", "annotations": map[string]any{"note": "kept"}, "labels": labels}, got["Service web"]["metadata"]); d != "" {
		t.Error(d)
	}
	for name, spec := range map[string]map[string]any{
		// Velero itself takes the address off.
		"Service web":                     {"type": "ClusterIP", "clusterIP": "10.0.0.7", "clusterIPs": []any{"10.0.0.7"}, "ports": []any{map[string]any{"port": 80.}}, "selector": map[string]any{"app": "web"}},
		"Service out":                     {"type": "ClusterIP", "clusterIP": "None"},
		"PersistentVolumeClaim data-db-0": {"storageClassName": w.Run.ID + "-fast", "resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}}},
	} {
		if d := cmp.Diff(spec, normal(t, got[name])["spec"]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	for name, check := range map[string]func(o map[string]any) bool{
		"Deployment agent": func(o map[string]any) bool {
			n, _, _ := unstructured.NestedFloat64(o, "spec", "replicas")
			_, host, _ := unstructured.NestedFieldNoCopy(o, "spec", "template", "spec", "hostNetwork")
			return n == 0 && !host
		},
		"CronJob mail": func(o map[string]any) bool { b, _, _ := unstructured.NestedBool(o, "spec", "suspend"); return b },
		"StatefulSet db": func(o map[string]any) bool {
			n, _, _ := unstructured.NestedFloat64(o, "spec", "replicas")
			return n == 2
		},
		"Secret token":    func(o map[string]any) bool { return o["type"] == "Opaque" && o["data"] == nil },
		"RoleBinding ops": func(o map[string]any) bool { return o["subjects"] == nil },
		"PersistentVolume pvc-db-0": func(o map[string]any) bool {
			_, ok, _ := unstructured.NestedFieldNoCopy(o, "spec", "capacity")
			return !ok
		},
		"Secret sh.helm.release.v1.shop.v1": func(o map[string]any) bool { return o["type"] == "Opaque" && o["data"] == nil },
		"Secret credentials": func(o map[string]any) bool {
			s, _, _ := unstructured.NestedString(o, "data", "password")
			return s == "c2VjcmV0"
		},
		"ServiceAccount default": func(o map[string]any) bool {
			a, _, _ := unstructured.NestedMap(o, "metadata", "annotations")
			return o["secrets"] == nil && len(a) == 0
		},
	} {
		if o := normal(t, got[name]); !check(o) {
			t.Errorf("%s comes back as %v", name, o)
		}
	}
	cm := w.Get(cluster.ConfigMaps, "velero", ns)
	if text, _ := json.Marshal(cm.Object); strings.Contains(string(text), "c2VjcmV0") || strings.Contains(string(text), "ZXlKaGJH") {
		t.Error("the modifiers hold values of Secrets")
	}
	if _, err := start(t, w); err != nil || len(w.Changes()) != len(want) {
		t.Errorf("a second start: %v, %q", err, w.Changes()[len(want):])
	}
}

// TestAClaimWithoutData beside the StatefulSet's is restored so that nothing binds it, and so that nobody waits for it.
func TestAClaimWithoutData(t *testing.T) {
	w, store := veleroWorld(t, backuptest.Spec{More: map[string][]string{"persistentvolumeclaims": {
		`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"scratch","namespace":"shop"},"spec":{"storageClassName":"fast","resources":{"requests":{"storage":"1Gi"}}}}`}}})
	out, err := start(t, w)
	if err != nil {
		t.Fatal(err)
	}
	if want := "PersistentVolumeClaim scratch: does not hold its data (it is restored without a volume)"; !slices.Contains(out.LeftOut, want) {
		t.Errorf("%q, expected %q", out.LeftOut, want)
	}
	contents, err := backup.Read(t.Context(), store, "b1", w.Run.Backup.Listing, "shop")
	if err != nil {
		t.Fatal(err)
	}
	got := restored(t, w, contents.Objects)
	c := &unstructured.Unstructured{Object: normal(t, got["PersistentVolumeClaim scratch"])}
	class, _, _ := unstructured.NestedString(c.Object, "spec", "storageClassName")
	if c.GetAnnotations()["fallbackchain.io/without-data"] != w.Run.ID || class != "" || c.GetLabels()["fallbackchain.io/run"] != w.Run.ID {
		t.Errorf("%v", c.Object)
	}
	with := &unstructured.Unstructured{Object: normal(t, got["PersistentVolumeClaim data-db-0"])}
	if len(with.GetAnnotations()) > 0 || with.GetLabels()["fallbackchain.io/run"] != w.Run.ID {
		t.Errorf("%v", with.Object)
	}
}

// volumeinfo edits the first volume of the backup.
func volumeinfo(edit func(v map[string]any)) map[string]func([]byte) []byte {
	return map[string]func([]byte) []byte{"-volumeinfo.json.gz": func(b []byte) []byte {
		var all []map[string]any
		if json.Unmarshal(b, &all) != nil {
			return b
		}
		edit(all[0])
		out, _ := json.Marshal(all)
		return out
	}}
}

func TestStartVeleroRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		spec backuptest.Spec
		act  func(w *steptest.World)
		want fault.Code
		says string
	}{
		"a backup that Velero does not know": {act: func(w *steptest.World) { w.Drop(velero.Backups, "velero", "b1") }, want: fault.ObjectsMissing, says: "does not know it"},
		"a backup in another location": {act: func(w *steptest.World) {
			w.Put(velero.BackupStorageLocations, strings.Replace(location, "prefix: eu", "prefix: us", 1))
		}, want: fault.NotQualified, says: "s3://backups/us"},
		"a location that is not available": {act: func(w *steptest.World) {
			w.Put(velero.BackupStorageLocations, strings.Replace(location, "Available", "Unavailable", 1))
		}, want: fault.Unavailable, says: "Unavailable"},
		"a claim in a file-system backup": {spec: backuptest.Spec{Change: volumeinfo(func(v map[string]any) {
			v["backupMethod"], v["pvbInfo"] = "PodVolumeBackup", map[string]any{"snapshotHandle": "k", "Phase": "Completed"}
			delete(v, "csiSnapshotInfo")
		})}, want: fault.NotQualified, says: "file-system backup"},
		"a claim in a native snapshot": {spec: backuptest.Spec{Change: volumeinfo(func(v map[string]any) {
			v["backupMethod"], v["nativeSnapshotInfo"] = "NativeSnapshot", map[string]any{"snapshotHandle": "snap-1", "Phase": "Completed"}
			delete(v, "csiSnapshotInfo")
		})}, want: fault.NotQualified, says: "native snapshot"},
		"a claim without data": {spec: backuptest.Spec{Change: volumeinfo(func(v map[string]any) { v["skipped"], v["skippedReason"], v["backupMethod"] = true, "policy", "" })},
			want: fault.NotQualified, says: "does not hold its data"},
		"no quarantine":         {act: func(w *steptest.World) { w.Run.Quarantine = nil }, want: fault.IsolationBroken},
		"no verified backup":    {act: func(w *steptest.World) { w.Run.Backup.Phase = run.Failed }, want: fault.InventoryBroken},
		"another backup by now": {act: func(w *steptest.World) { w.Run.Backup.Listing = "sha256:00" }, want: fault.InventoryBroken},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := veleroWorld(t, tc.spec)
			if tc.act != nil {
				tc.act(w)
			}
			_, err := start(t, w)
			if err == nil || fault.From(err).Code != tc.want || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, expected %s", err, tc.want)
			}
			if w.Get(velero.Restores, "velero", "drill-"+w.Run.ID) != nil {
				t.Error("the Restore was made")
			}
		})
	}
}
