package restore_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/velero"
)

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
	// other is a claim beside the StatefulSet's, as Velero restores it.
	other := func(w *steptest.World, class, more string) {
		w.Put(cluster.StorageClasses, "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: late}, provisioner: p, volumeBindingMode: WaitForFirstConsumer}")
		w.Put(cluster.PersistentVolumeClaims, "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: files, namespace: drill-"+w.Run.ID+", labels: {fallbackchain.io/run: "+w.Run.ID+
			"}"+more+"}, spec: {storageClassName: "+class+"}, status: {phase: Pending}}")
	}
	mount := func(w *steptest.World, phase string) {
		w.Put(cluster.Pods, "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: drill-"+w.Run.ID+"}, spec: {volumes: [{name: f, persistentVolumeClaim: {claimName: files}}]}, status: {phase: "+phase+"}}")
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
		{name: "another claim is not bound", status: completed, act: func(w *steptest.World) { ready(w); other(w, "fast", "") }, phase: run.Running, says: "claim files is Pending"},
		{name: "another claim is never bound", status: completed, act: func(w *steptest.World) { ready(w); other(w, "fast", "") }, late: true, phase: run.Failed, reason: "BudgetExceeded",
			says: "claim files is Pending"},
		{name: "another claim's class is gone", status: completed, act: func(w *steptest.World) { ready(w); other(w, "gone", "") }, late: true, phase: run.Failed, reason: "BudgetExceeded",
			says: `claim files is Pending: storage class "gone" does not exist`},
		{name: "another claim waits for a pod that is not there", status: completed, act: func(w *steptest.World) { ready(w); other(w, "late", "") }, phase: run.Succeeded},
		{name: "another claim waits for a pod that has ended", status: completed, act: func(w *steptest.World) { ready(w); other(w, "late", ""); mount(w, "Succeeded") }, phase: run.Succeeded},
		{name: "another claim waits for a pod that is there", status: completed, act: func(w *steptest.World) { ready(w); other(w, "late", ""); mount(w, "Pending") }, phase: run.Running, says: "claim files is Pending"},
		{name: "another claim has no data", status: completed, act: func(w *steptest.World) {
			ready(w)
			other(w, "fast", ", annotations: {fallbackchain.io/without-data: x}")
		}, phase: run.Succeeded},
		{name: "a claim that was not restored", status: completed, act: func(w *steptest.World) {
			ready(w)
			w.Put(cluster.PersistentVolumeClaims, "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: files, namespace: drill-"+w.Run.ID+"}, status: {phase: Pending}}")
		}, phase: run.Succeeded},
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
			at := w.Now().Add(200 * time.Millisecond)
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

// TestResultsAreKept: the section has the first of them, cut; the evidence has all, and is there when Velero's own are gone.
func TestResultsAreKept(t *testing.T) {
	many := map[string][]string{}
	for i := range 200 {
		many["ns"] = append(many["ns"], fmt.Sprintf("item %d: %s", i, strings.Repeat("x", 400)))
	}
	text := func(v any) []byte { b, _ := json.Marshal(v); return backuptest.Gzip(b) }
	for name, tc := range map[string]struct {
		status  string
		late    bool
		results []byte
		count   int
		noPlace bool
	}{
		"few":                      {status: "{phase: PartiallyFailed, errors: 1}", results: text(map[string]any{"errors": map[string]any{"velero": []string{"short"}}})},
		"one that is long":         {status: "{phase: PartiallyFailed, errors: 1}", results: text(map[string]any{"errors": map[string]any{"velero": []string{strings.Repeat("x", 161)}}}), count: 1},
		"many":                     {status: "{phase: PartiallyFailed, errors: 1, warnings: 200}", results: text(map[string]any{"errors": map[string]any{"velero": []string{"no"}}, "warnings": map[string]any{"namespaces": many}}), count: 201},
		"many, and out of time":    {status: "{phase: Completed, warnings: 200}", late: true, results: text(map[string]any{"warnings": map[string]any{"namespaces": many}}), count: 200},
		"many, and no place of it": {status: "{phase: PartiallyFailed, errors: 1}", results: text(map[string]any{"errors": map[string]any{"namespaces": many}}), noPlace: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, store := veleroWorld(t, backuptest.Spec{})
			w.Env.Evidence = step.EvidenceFiles{Dir: t.TempDir()}
			if tc.noPlace {
				w.Env.Evidence = nil
			}
			out, err := start(t, w)
			if err != nil {
				t.Fatal(err)
			}
			r := w.Get(velero.Restores, "velero", out.Velero.Name)
			r.Object["status"] = steptest.Object(t, "apiVersion: v1\nkind: X\nstatus: "+tc.status).Object["status"]
			b, _ := json.Marshal(r.Object)
			w.Put(velero.Restores, string(b))
			ns := "drill-" + w.Run.ID
			w.Put(cluster.StatefulSets, "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db, namespace: "+ns+", labels: {velero.io/restore-name: "+ns+"}}\nspec: {replicas: 2, template: {spec: {containers: [{name: db}]}}}")
			store.Set(velero.ResultsKey(out.Velero.Name), tc.results)
			at := w.Now().Add(200 * time.Millisecond)
			out.Deadline = &at
			if tc.late {
				w.Pass(time.Second)
			}
			w.Run.Restore = &out
			got, err := (&restore.Handler{Env: w.Env}).Handle(t.Context(), "await", "AwaitRestore", w.Run)
			if err != nil {
				t.Fatal(err)
			}
			if got.Phase != run.Failed || !run.Fits(got) || len(got.Velero.Items) == 0 {
				t.Errorf("%+v %+v", got, got.Velero)
			}
			e := got.Velero.Evidence
			if (e != nil) != (tc.count > 0) || got.Velero.ItemCount != tc.count {
				t.Fatalf("evidence %+v of %d items, expected %d", e, got.Velero.ItemCount, tc.count)
			}
			if last := got.Velero.Items[len(got.Velero.Items)-1]; strings.HasPrefix(last, "the rest was not kept: ") != tc.noPlace {
				t.Errorf("%q", got.Velero.Items)
			}
			if e == nil {
				return
			}
			w.Run.Restore = &got
			s, err := w.Env.Open(t.Context(), "X", w.Run)
			if err != nil {
				t.Fatal(err)
			}
			var all velero.Results
			if err := s.Recall(t.Context(), restore.ResultsFile, e, &all); err != nil {
				t.Fatal(err)
			}
			if n := len(all.Errors) + len(all.Warnings); n != tc.count {
				t.Errorf("%d are kept, expected %d", n, tc.count)
			}
			if tc.count >= 200 && all.Warnings[199] != many["ns"][199] {
				t.Errorf("it is cut: %q", all.Warnings[199])
			}
		})
	}
}
