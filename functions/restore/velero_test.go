package restore_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/velero"

	"context"
)

const (
	veleroBackup = "apiVersion: velero.io/v1\nkind: Backup\nmetadata: {name: b1, namespace: velero}\nspec: {storageLocation: default}\nstatus: {phase: Completed}"
	location     = "apiVersion: velero.io/v1\nkind: BackupStorageLocation\nmetadata: {name: default, namespace: velero}\nspec: {provider: aws, objectStorage: {bucket: backups, prefix: eu}}\nstatus: {phase: Available}"
	fastVelero   = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\nprovisioner: csi.example.com\nreclaimPolicy: Retain"
)

// veleroWorld is a drill whose backup was verified.
func veleroWorld(t *testing.T, spec backuptest.Spec) (*steptest.World, *backuptest.Store) {
	t.Helper()
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "db"}}}
	p.Spec.Inventory = &plan.Inventory{MaxAge: plan.Duration(24 * time.Hour), Velero: &plan.Velero{Location: "s3://backups/eu", Namespace: "velero", StorageLocation: "default"}}
	p.Spec.Quarantine.Level = plan.LevelApplied
	w := steptest.New(t, run.Drill, p, veleroBackup, location, fastVelero)
	spec.ClusterUID, spec.Kubernetes = steptest.ClusterUID, steptest.Kubernetes
	spec.Started = steptest.Start.Add(-time.Hour)
	store := backuptest.NewStore(spec)
	w.Env.Backups = func(context.Context, *plan.Plan) (backup.Store, error) { return store, nil }
	v, err := backup.Verify(t.Context(), store, "b1", backup.Expectation{Namespace: "shop", StatefulSet: "db", Now: steptest.Start})
	if err != nil {
		t.Fatal(err)
	}
	w.Run.Backup = &run.Backup{Phase: run.Verified, Name: "b1", Listing: v.Listing, Location: p.Spec.Inventory.Velero.Location}
	w.Run.Quarantine = &run.Quarantine{Phase: run.Verified, Namespace: "drill-" + w.Run.ID, Wanted: "Applied", Level: "Applied"}
	return w, store
}

// production is a namespace with something of everything that must not come back as it is.
var production = map[string][]string{
	"services": {
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop","annotations":{"external-dns.alpha.kubernetes.io/hostname":"shop.example.com","external-dns.kubernetes.io/ttl":"60","note":"kept"},"finalizers":["service.kubernetes.io/load-balancer-cleanup"]},"spec":{"type":"LoadBalancer","clusterIP":"10.0.0.7","clusterIPs":["10.0.0.7"],"externalTrafficPolicy":"Local","healthCheckNodePort":31000,"ports":[{"port":80,"nodePort":30080}],"selector":{"app":"web"}}}`,
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"out","namespace":"shop"},"spec":{"type":"ExternalName","externalName":"db.example.com"}}`,
	},
	"deployments.apps": {
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"agent","namespace":"shop"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}},"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"a"}]}}}}`,
	},
	"cronjobs.batch": {
		`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"mail","namespace":"shop"},"spec":{"schedule":"* * * * *","suspend":false,"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"m","image":"m"}],"restartPolicy":"Never"}}}}}}`,
	},
	"secrets": {
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"sh.helm.release.v1.shop.v1","namespace":"shop","labels":{"owner":"helm","name":"shop"}},"type":"helm.sh/release.v1","data":{"release":"SDRzSUFB"}}`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"token","namespace":"shop","annotations":{"kubernetes.io/service-account.name":"app","kubernetes.io/service-account.uid":"u"}},"type":"kubernetes.io/service-account-token","data":{"token":"ZXlKaGJH"}}`,
	},
	"serviceaccounts": {
		`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"shop","annotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::1:role/x"}},"secrets":[{"name":"token"}]}`,
	},
	"rolebindings.rbac.authorization.k8s.io": {
		`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"ops","namespace":"shop"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"},"subjects":[{"kind":"ServiceAccount","name":"ci","namespace":"ci"}]}`,
	},
	"ingresses.networking.k8s.io": {
		`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"web","namespace":"shop"}}`,
	},
}

// restored does to the backup's objects what Velero does by the ConfigMap that start made.
func restored(t *testing.T, w *steptest.World, objects []*unstructured.Unstructured) map[string]map[string]any {
	t.Helper()
	cm := w.Get(cluster.ConfigMaps, "velero", "drill-"+w.Run.ID)
	if cm == nil {
		t.Fatal("there are no modifiers")
	}
	data, _, _ := unstructured.NestedStringMap(cm.Object, "data")
	var rules struct {
		Version               string
		ResourceModifierRules []struct {
			Conditions struct {
				Namespaces                       []string
				GroupResource, ResourceNameRegex string
			}
			MergePatches []struct{ PatchData string }
		}
	}
	if err := json.Unmarshal([]byte(data["modifiers.yaml"]), &rules); err != nil || rules.Version != "v1" {
		t.Fatal(err, rules.Version)
	}
	resource := map[string]string{"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts", "PersistentVolumeClaim": "persistentvolumeclaims",
		"StatefulSet": "statefulsets.apps", "Deployment": "deployments.apps", "CronJob": "cronjobs.batch", "RoleBinding": "rolebindings.rbac.authorization.k8s.io", "PersistentVolume": "persistentvolumes"}
	out := map[string]map[string]any{}
	for _, o := range objects {
		gr, ok := resource[o.GetKind()]
		if !ok {
			continue
		}
		got := change.Bare(o).Object
		for _, r := range rules.ResourceModifierRules {
			if r.Conditions.GroupResource != gr || !regexp.MustCompile(r.Conditions.ResourceNameRegex).MatchString(o.GetName()) ||
				(o.GetNamespace() != "" && len(r.Conditions.Namespaces) > 0 && !slices.Contains(r.Conditions.Namespaces, o.GetNamespace())) {
				continue
			}
			var patch map[string]any
			if err := json.Unmarshal([]byte(r.MergePatches[0].PatchData), &patch); err != nil {
				t.Fatal(err)
			}
			mergeInto(got, patch)
		}
		out[o.GetKind()+" "+o.GetName()] = got
	}
	return out
}

func mergeInto(m, patch map[string]any) {
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			inner, ok := m[k].(map[string]any)
			if !ok {
				inner = map[string]any{}
				m[k] = inner
			}
			mergeInto(inner, v)
		default:
			m[k] = v
		}
	}
}

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

// normal is the object as JSON has it: every number is a float64.
func normal(t *testing.T, o map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
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

func TestAwaitVelero(t *testing.T) {
	const completed = "phase: Completed, warnings: 1, progress: {totalItems: 9, itemsRestored: 9}"
	download := func(w *steptest.World, phase string) {
		ns := "drill-" + w.Run.ID
		w.Put(velero.DataDownloads, "apiVersion: velero.io/v2alpha1\nkind: DataDownload\nmetadata: {name: dd, namespace: velero, labels: {velero.io/restore-name: "+ns+
			"}}\nspec: {targetVolume: {pvc: data-db-0, namespace: "+ns+"}}\nstatus: {phase: "+phase+", message: no node}")
	}
	ready := func(w *steptest.World) {
		ns := "drill-" + w.Run.ID
		w.Put(cluster.StatefulSets, "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db, namespace: "+ns+", labels: {velero.io/restore-name: "+ns+"}}\nspec: {replicas: 2, template: {spec: {containers: [{name: db}]}}, volumeClaimTemplates: [{metadata: {name: data}}]}")
		for _, i := range []string{"0", "1"} {
			w.Put(cluster.PersistentVolumeClaims, "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-db-"+i+", namespace: "+ns+"}\nstatus: {phase: Bound}")
			w.Put(cluster.Pods, "apiVersion: v1\nkind: Pod\nmetadata: {name: db-"+i+", namespace: "+ns+"}\nspec: {nodeName: node-1}\nstatus: {phase: Running, conditions: [{type: Ready, status: \"True\"}]}")
		}
	}
	service := func(w *steptest.World, kind string) {
		ns := "drill-" + w.Run.ID
		w.Put(cluster.Services, "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: "+ns+", labels: {velero.io/restore-name: "+ns+"}}\nspec: {type: "+kind+", clusterIP: 10.0.0.9, ports: [{port: 80}]}")
	}
	for _, tc := range []struct {
		name, status string
		act          func(w *steptest.World)
		late         bool
		phase        run.Phase
		reason       string
		says         string
		code         fault.Code
	}{
		{name: "all is there", status: completed, act: ready, phase: run.Succeeded, says: "Completed with 1 warnings"},
		{name: "not taken up", status: "{}", phase: run.Running, says: "not taken up by Velero yet"},
		{name: "in progress", status: "phase: InProgress, progress: {totalItems: 9, itemsRestored: 4}", phase: run.Running, says: "4 of 9 items"},
		{name: "objects are there and Velero goes on", status: "phase: Finalizing", act: ready, phase: run.Running, says: "is Finalizing"},
		{name: "completed and not bound", status: completed, act: func(w *steptest.World) {
			ready(w)
			w.Put(cluster.PersistentVolumeClaims, "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-db-1, namespace: drill-"+w.Run.ID+"}\nstatus: {phase: Pending}")
		}, phase: run.Running, says: "claim data-db-1 is Pending"},
		{name: "data is moved", status: "phase: WaitingForPluginOperations, restoreItemOperationsAttempted: 1", act: func(w *steptest.World) { ready(w); download(w, "InProgress") }, phase: run.Running, says: "data of claim data-db-0"},
		{name: "completed before its data", status: completed, act: func(w *steptest.World) { ready(w); download(w, "InProgress") }, phase: run.Running, says: "data of claim data-db-0"},
		{name: "data was moved", status: completed, act: func(w *steptest.World) { ready(w); download(w, "Completed") }, phase: run.Succeeded},
		{name: "data does not come", status: "phase: WaitingForPluginOperations", act: func(w *steptest.World) { ready(w); download(w, "Failed") }, phase: run.Failed, reason: "DataNotMoved", says: "data of claim data-db-0 (DataDownload dd) is Failed: no node"},
		{name: "data was canceled", status: completed, act: func(w *steptest.World) { ready(w); download(w, "Canceled") }, phase: run.Failed, reason: "DataNotMoved", says: "Canceled"},
		{name: "partially failed", status: "phase: PartiallyFailed, errors: 1, startTimestamp: \"2026-11-21T02:00:00Z\"", phase: run.Failed, reason: "PartiallyFailed", says: "error restoring services"},
		{name: "bound to fail", status: "phase: WaitingForPluginOperationsPartiallyFailed, errors: 1", phase: run.Failed, reason: "WaitingForPluginOperationsPartiallyFailed"},
		{name: "not valid", status: "phase: FailedValidation, validationErrors: [no such backup]", phase: run.Failed, reason: "FailedValidation", says: "no such backup"},
		{name: "failed", status: "phase: Failed, failureReason: found a restore with status InProgress during the server starting", phase: run.Failed, reason: "Failed", says: "during the server starting"},
		{name: "a hook failed", status: completed + ", hookStatus: {hooksAttempted: 2, hooksFailed: 1}", act: ready, phase: run.Failed, reason: "HooksFailed", says: "1 of 2 hooks"},
		{name: "deleted by somebody", act: func(w *steptest.World) { w.Drop(velero.Restores, "velero", "drill-"+w.Run.ID) }, phase: run.Failed, reason: "RestoreGone"},
		{name: "out of time", status: "phase: InProgress", late: true, phase: run.Failed, reason: "BudgetExceeded", says: "InProgress"},
		{name: "modifiers were not applied", status: "phase: Finalizing", act: func(w *steptest.World) { ready(w); service(w, "LoadBalancer") }, code: fault.IsolationBroken, says: "Service web"},
		{name: "modifiers were applied", status: completed, act: func(w *steptest.World) { ready(w); service(w, "ClusterIP") }, phase: run.Succeeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, store := veleroWorld(t, backuptest.Spec{})
			out, err := start(t, w)
			if err != nil {
				t.Fatal(err)
			}
			name := out.Velero.Name
			store.Set(velero.ResultsKey(name), backuptest.Gzip([]byte(`{"errors":{"namespaces":{"x":["error restoring services/x/web: no"]}},"warnings":{"velero":["w"]}}`)))
			if tc.status != "" {
				r := w.Get(velero.Restores, "velero", name)
				text, _ := json.Marshal(r.Object)
				status := tc.status
				if !strings.HasPrefix(status, "{") {
					status = "{" + status + "}"
				}
				o := steptest.Object(t, string(text))
				o.Object["status"] = steptest.Object(t, "apiVersion: v1\nkind: X\nstatus: "+status).Object["status"]
				text, _ = json.Marshal(o.Object)
				w.Put(velero.Restores, string(text))
			}
			if tc.act != nil {
				tc.act(w)
			}
			at := w.Now().Add(20 * time.Millisecond)
			out.Deadline = &at
			if tc.late {
				w.Pass(time.Second)
			}
			w.Run.Restore = &out
			got, err := (&restore.Handler{Env: w.Env}).Handle(t.Context(), "await", "AwaitRestore", w.Run)
			if tc.code != "" {
				if err == nil || fault.From(err).Code != tc.code || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v, expected %s", err, tc.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Phase != tc.phase || got.Reason != tc.reason || !strings.Contains(got.Message, tc.says) {
				t.Errorf("%s %s: %s", got.Phase, got.Reason, got.Message)
			}
			if done := got.ObjectsAt != nil && got.VolumesAt != nil && got.ScheduledAt != nil && got.ReadyAt != nil; got.Phase == run.Succeeded && !done {
				t.Errorf("the times are missing: %+v", got)
			}
			if tc.reason == "PartiallyFailed" {
				if d := cmp.Diff([]string{"error: error restoring services/x/web: no", "warning: w"}, got.Velero.Items); d != "" {
					t.Error(d)
				}
			}
		})
	}
}
