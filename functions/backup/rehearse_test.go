package backup

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/steptest"
)

// target has what backuptest's workload needs.
func target() []string {
	return []string{
		"{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, provisioner: csi.example.com}",
		"{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
		"{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: n1}, spec: {drivers: [{name: csi.example.com, nodeID: n1}]}}",
		"{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: csi.example.com}}",
		"{apiVersion: velero.io/v1, kind: BackupStorageLocation, metadata: {name: default, namespace: velero}, spec: {objectStorage: {bucket: velero, prefix: shop}}," +
			" status: {phase: Available, lastValidationTime: '2026-11-21T01:59:30Z'}}",
		"{apiVersion: velero.io/v1, kind: Backup, metadata: {name: new, namespace: velero}, spec: {storageLocation: default}}",
	}
}

func rehearse(t *testing.T, mode run.Mode, p *plan.Plan, store *backuptest.Store, objects ...string) (run.Rehearsal, *steptest.World) {
	t.Helper()
	w := world(t, mode, p, store, objects...)
	b, err := choose(w)
	if err != nil {
		t.Fatal(err)
	}
	w.Run.Backup = &b
	s, err := (&Handler{Env: w.Env}).Handle(t.Context(), "rehearse", "RehearseRestore", w.Run)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := s.(run.Rehearsal)
	if !run.Fits(r) {
		t.Errorf("the section is too large")
	}
	if writes := w.Writes(); len(writes) > 0 {
		t.Errorf("it wrote %v", writes)
	}
	return r, w
}

// ofNobody is a backup that does not say which cluster it is of.
func ofNobody() backuptest.Spec {
	b := taken("new", time.Hour)
	b.ClusterUID = "-"
	return b
}

func TestRehearse(t *testing.T) {
	all := target()
	for _, tc := range []struct {
		name    string
		mode    run.Mode
		change  func(*plan.Plan, *backuptest.Store)
		objects []string
		phase   run.Phase
		stop    string
	}{
		{"a drill without Velero", run.Drill, nil, all[:4], run.Refused, "BackupStorageLocation"},
		{"the plan only wants to know", run.Drill, func(p *plan.Plan, _ *backuptest.Store) { p.Spec.Inventory.Velero.Rehearsal = plan.RehearsalReports }, all[:4], run.Passed, "BackupStorageLocation"},
		{"a backup that does not verify", run.Drill, func(_ *plan.Plan, s *backuptest.Store) { s.Delete(backuptest.Key("new", ".tar.gz")) }, all, run.Refused, "the backup"},
		{"evaluate of a backup that does not verify", run.Evaluate, func(_ *plan.Plan, s *backuptest.Store) { s.Delete(backuptest.Key("new", ".tar.gz")) }, all, run.Refused, "the backup"},
		{"a drill of a backup of no known cluster", run.Drill, func(_ *plan.Plan, s *backuptest.Store) { s.Add(ofNobody()) }, all, run.Refused, "backup new: SourceUnknown"},
		{"a drill that nothing is in the way of", run.Drill, nil, all, run.Passed, ""},
		{"evaluate, likewise", run.Evaluate, nil, all, run.Passed, ""},
		{"a drill without its StorageClass", run.Drill, nil, all[1:], run.Refused, "StorageClass fast"},
		{"evaluate, where it comes back from the backup", run.Evaluate, nil, all[1:], run.Passed, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store, p := backuptest.NewStore(taken("new", time.Hour)), velero()
			if tc.change != nil {
				tc.change(p, store)
			}
			r, _ := rehearse(t, tc.mode, p, store, tc.objects...)
			if tc.stop == "" {
				if r.Phase != tc.phase || run.Stops(r.Findings) || r.Asked == 0 {
					t.Errorf("%+v", r)
				}
				return
			}
			if r.Phase != tc.phase || !found(r.Findings, run.Stop, tc.stop) || !strings.Contains(r.Message, "stop a restore") {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestWhatADrillRefuses is found before, and told by an evaluate as well.
func TestWhatADrillRefuses(t *testing.T) {
	kept := func(by map[string]any) func(*backuptest.Spec) {
		return func(s *backuptest.Spec) {
			s.Change = map[string]func([]byte) []byte{"-volumeinfo.json.gz": func(b []byte) []byte {
				var all []map[string]any
				if err := json.Unmarshal(b, &all); err != nil {
					t.Error(err)
				}
				delete(all[0], "csiSnapshotInfo")
				maps.Copy(all[0], by)
				b, _ = json.Marshal(all)
				return b
			}}
		}
	}
	const onTheNode = `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"near","namespace":"shop"},"spec":{"replicas":1,"selector":{"matchLabels":{"app":"n"}},` +
		`"template":{"metadata":{"labels":{"app":"n"}},"spec":{"hostNetwork":true,"containers":[{"name":"n","image":"n"}]}}}}`
	for name, tc := range map[string]struct {
		spec        func(*backuptest.Spec)
		statefulSet string
		stop        string
	}{
		"a file-system backup": {kept(map[string]any{"backupMethod": backup.MethodPodVolumeBackup, "pvbInfo": map[string]any{"snapshotHandle": "k", "Phase": "Completed"}}), "pg",
			"PersistentVolumeClaim data-pg-0: backup new holds its data as a file-system backup"},
		"a skipped volume": {kept(map[string]any{"backupMethod": "", "skipped": true, "skippedReason": "policy"}), "pg", "PersistentVolumeClaim data-pg-0: backup new does not hold its data"},
		"a workload on the node's network": {func(s *backuptest.Spec) { s.More = map[string][]string{"statefulsets.apps": {onTheNode}} }, "near",
			"StatefulSet near: its pods use the node's own namespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []run.Mode{run.Drill, run.Evaluate} {
				spec, p := taken("new", time.Hour), velero()
				tc.spec(&spec)
				p.Spec.Workload.StatefulSet = tc.statefulSet
				r, w := rehearse(t, mode, p, backuptest.NewStore(spec), target()...)
				if b := w.Run.Backup; b.Phase != run.Verified {
					t.Fatalf("%s %s", b.Reason, b.Message)
				}
				if r.Phase != run.Refused || !found(r.Findings, run.Stop, tc.stop) {
					t.Errorf("%s: %+v", mode, r)
				}
			}
		})
	}
}

// TestRestoreHooks do not run, and this is said.
func TestRestoreHooks(t *testing.T) {
	pod := func(name, annotation string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `","namespace":"shop","annotations":{"` + annotation + `":"x"}},"spec":{"containers":[{"name":"c","image":"c"}]}}`
	}
	template := func(annotation string) string {
		return `{"metadata":{"annotations":{"` + annotation + `":"x"}},"spec":{"containers":[{"name":"c","image":"c"}]}}`
	}
	for name, tc := range map[string]struct {
		more map[string][]string
		want string
	}{
		"none":                    {nil, ""},
		"a backup's hook":         {map[string][]string{"pods": {pod("p", "post.hook.backup.velero.io/command")}}, ""},
		"a command in a pod":      {map[string][]string{"pods": {pod("p", "post.hook.restore.velero.io/command")}}, "carried by Pod p:"},
		"a container for pods":    {map[string][]string{"pods": {pod("p", "init.hook.restore.velero.io/container-image"), pod("q", "init.hook.restore.velero.io/container-image")}}, "carried by Pod q, Pod p:"},
		"a Deployment's template": {map[string][]string{"deployments.apps": {`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","namespace":"shop"},"spec":{"template":` + template("post.hook.restore.velero.io/command") + `}}`}}, "carried by Deployment d:"},
		"a CronJob's template": {map[string][]string{"cronjobs.batch": {`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"c","namespace":"shop"},"spec":{"jobTemplate":{"spec":{"template":` +
			template("post.hook.restore.velero.io/command") + `}}}}`}}, "carried by CronJob c:"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []run.Mode{run.Drill, run.Evaluate} {
				spec := taken("new", time.Hour)
				spec.More = tc.more
				r, _ := rehearse(t, mode, velero(), backuptest.NewStore(spec), target()...)
				if tc.want == "" {
					if found(r.Findings, run.Warning, "restore hooks") {
						t.Errorf("%s: %+v", mode, r.Findings)
					}
				} else if !found(r.Findings, run.Warning, "restore hooks: "+tc.want) || r.Phase != run.Passed {
					t.Errorf("%s: %+v", mode, r)
				}
			}
		})
	}
}

// TestABackupThatWasChanged after it was verified is not used, by whatever name.
func TestABackupThatWasChanged(t *testing.T) {
	store := backuptest.NewStore(taken("new", time.Hour))
	w := world(t, run.Drill, velero(), store, target()...)
	b, err := choose(w)
	if err != nil || b.Phase != run.Verified {
		t.Fatalf("%v %+v", err, b)
	}
	w.Run.Backup = &b
	s, err := w.Env.Open(t.Context(), "X", w.Run)
	if err != nil {
		t.Fatal(err)
	}
	store.Flip(backuptest.Key("new", ".tar.gz"), -10)
	if _, r, err := s.VerifiedInventory(t.Context()); err != nil || r.Status != signal.False || !strings.Contains(r.Message, "not the one that was verified") {
		t.Errorf("%v %+v", err, r)
	}
}

// TestTheInventoryIsTheChosenBackup, and it is read once for all that ask.
func TestTheInventoryIsTheChosenBackup(t *testing.T) {
	store := backuptest.NewStore(taken("new", time.Hour))
	w := world(t, run.Recover, velero(), store)
	b, err := choose(w)
	if err != nil {
		t.Fatal(err)
	}
	w.Run.Backup = &b
	store.Add(taken("newer", time.Minute))
	before := store.Opened(backuptest.Key("new", ".tar.gz"))
	for range 3 {
		s, err := w.Env.Open(t.Context(), "X", w.Run)
		if err != nil {
			t.Fatal(err)
		}
		bundle, r, err := s.VerifiedInventory(t.Context())
		if err != nil || r.Status != signal.True || bundle == nil {
			t.Fatalf("%v %+v", err, r)
		}
		if objects, broken := bundle.Objects(t.Context()); len(objects) < 5 || len(broken) > 0 || len(bundle.Snapshots) != 2 {
			t.Errorf("%d objects, %d snapshots, %v", len(objects), len(bundle.Snapshots), broken)
		}
	}
	if n := store.Opened(backuptest.Key("new", ".tar.gz")) - before; n != 1 || store.Opened(backuptest.Key("newer", ".tar.gz")) != 0 {
		t.Errorf("the tarball was read %d times", n)
	}
	w.Pass(47 * time.Hour)
	s, _ := w.Env.Open(t.Context(), "X", w.Run)
	if _, r, _ := s.VerifiedInventory(t.Context()); r.Status != signal.False || r.Reason != "TooOld" {
		t.Errorf("%+v", r)
	}
}

// TestNoRestorePoint: what the run has not verified is no inventory.
func TestNoRestorePoint(t *testing.T) {
	for name, tc := range map[string]struct {
		run  func(*run.Run)
		want signal.Status
		why  string
	}{
		"not chosen": {func(*run.Run) {}, signal.Unknown, "NoRestorePoint"},
		"a fault":    {func(r *run.Run) { r.Faults = map[string]run.CaughtFault{"backup": {Error: "Unavailable", Cause: "S3"}} }, signal.Unknown, "Unavailable"},
		"wrong":      {func(r *run.Run) { r.Backup = &run.Backup{Phase: run.Failed, Status: signal.False, Reason: "TooOld"} }, signal.False, "TooOld"},
		"not read": {func(r *run.Run) {
			r.Backup = &run.Backup{Phase: run.Failed, Status: signal.Unknown, Reason: "Unreadable"}
		}, signal.Unknown, "Unreadable"},
		"of an older run": {func(r *run.Run) { r.Backup = &run.Backup{Phase: run.Failed, Reason: "TooOld"} }, signal.Unknown, "TooOld"},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, run.Recover, velero(), backuptest.NewStore(taken("new", time.Hour)))
			tc.run(&w.Run)
			s, err := w.Env.Open(t.Context(), "X", w.Run)
			if err != nil {
				t.Fatal(err)
			}
			b, r, err := s.VerifiedInventory(t.Context())
			if b != nil || err != nil || r.Status != tc.want || r.Reason != tc.why {
				t.Errorf("%v %+v", err, r)
			}
		})
	}
}
