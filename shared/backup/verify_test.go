package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func expectation() backup.Expectation {
	return backup.Expectation{Namespace: "shop", StatefulSet: "db", ClusterUID: backuptest.Cluster, KubernetesVersion: "v1.36.3", MaxAge: 24 * time.Hour, Now: backuptest.Now()}
}

func golden(t *testing.T, name string, v backup.Verified) {
	t.Helper()
	if !strings.HasPrefix(v.Listing, "sha256:") || v.Bytes == 0 {
		t.Errorf("listing %q, %d bytes", v.Listing, v.Bytes)
	}
	v.Listing, v.Bytes = "(depends on the compressor)", 0
	have, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name+".golden.json")
	if *update {
		if err := os.WriteFile(path, append(have, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(have)+"\n"); d != "" {
		t.Errorf("-want +have:\n%s", d)
	}
}

func hpa(version string) string {
	return `{"apiVersion":"autoscaling/` + version + `","kind":"HorizontalPodAutoscaler","metadata":{"name":"web","namespace":"shop"}}`
}

func TestVerifyGood(t *testing.T) {
	for name, c := range map[string]struct {
		spec   backuptest.Spec
		sealed bool
	}{
		"good": {}, "sealed": {sealed: true}, "moved": {spec: backuptest.Spec{Moved: true, Schedule: "nightly"}}, "lists": {spec: backuptest.Spec{CSILists: true}},
		"versions": {spec: backuptest.Spec{More: map[string][]string{"horizontalpodautoscalers.autoscaling": {hpa("v2")}}, Versions: map[string][]string{"horizontalpodautoscalers.autoscaling": {hpa("v1")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			s, exp := backuptest.NewStore(c.spec), expectation()
			if c.sealed {
				s, exp = sealed(t, c.spec)
				exp.ManifestRequired = true
			}
			before := map[string]int{}
			for _, k := range s.Keys() {
				before[k] = s.Opened(k)
			}
			v, err := backup.Verify(t.Context(), s, "b1", exp)
			if err != nil || v.Status != signal.True {
				t.Fatalf("%+v %v", v, err)
			}
			for _, k := range s.Keys() {
				if n := s.Opened(k) - before[k]; n != 1 {
					t.Errorf("%s was opened %d times, expected once", k, n)
				}
			}
			golden(t, name, v)
		})
	}
}

// doc edits a JSON document.
func doc(edit func(map[string]any)) func([]byte) []byte {
	return func(b []byte) []byte {
		var d map[string]any
		if err := json.Unmarshal(b, &d); err != nil {
			return nil
		}
		edit(d)
		out, _ := json.Marshal(d)
		return out
	}
}

// elements edits each element of a JSON list.
func elements(edit func(map[string]any)) func([]byte) []byte {
	return func(b []byte) []byte {
		var l []map[string]any
		if err := json.Unmarshal(b, &l); err != nil {
			return nil
		}
		for _, e := range l {
			edit(e)
		}
		out, _ := json.Marshal(l)
		return out
	}
}

func in(m map[string]any, path ...string) map[string]any {
	for _, p := range path {
		m, _ = m[p].(map[string]any)
	}
	return m
}

func text(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }

func status(field string, v any) func([]byte) []byte {
	return doc(func(d map[string]any) { in(d, "status")[field] = v })
}

const (
	metadataJSON = "velero-backup.json"
	volumeinfo   = "-volumeinfo.json.gz"
	operations   = "-itemoperations.json.gz"
	resources    = "-resource-list.json.gz"
	tarball      = ".tar.gz"
)

func change(where string, f func([]byte) []byte) backuptest.Spec {
	return backuptest.Spec{Change: map[string]func([]byte) []byte{where: f}}
}

const service = "tar:resources/services/namespaces/shop/db.json"

// TestVerifyFindsWhatIsWrong breaks the meaning of one part, leaves its form whole, and wants the finding.
func TestVerifyFindsWhatIsWrong(t *testing.T) {
	volume := func(path []string, field string, v any) backuptest.Spec {
		return change(volumeinfo, elements(func(e map[string]any) { in(e, path...)[field] = v }))
	}
	csi := []string{"csiSnapshotInfo"}
	for name, c := range map[string]struct {
		spec     backuptest.Spec
		exp      func(*backup.Expectation)
		severity string // Stop unless said
		subject  string
		problem  string
		reason   string
	}{
		"partially failed": {spec: backuptest.Spec{Phase: "PartiallyFailed", Change: map[string]func([]byte) []byte{
			"-results.gz": text(`{"errors":{"namespaces":{"shop":["error backing up item"]}},"warnings":{}}`)}},
			subject: metadataJSON, problem: `is in phase "PartiallyFailed", expected Completed: namespace shop: error backing up item`, reason: backup.ReasonNotCompleted},
		"unfinished": {spec: backuptest.Spec{Phase: "Finalizing"}, subject: metadataJSON, problem: `phase "Finalizing"`, reason: backup.ReasonNotCompleted},
		"failed": {spec: change(metadataJSON, doc(func(d map[string]any) {
			in(d, "status")["phase"] = "Failed"
			in(d, "status")["failureReason"] = "no space"
		})), subject: metadataJSON, problem: "no space", reason: backup.ReasonNotCompleted},
		"no time": {spec: change(metadataJSON, doc(func(d map[string]any) {
			delete(in(d, "status"), "startTimestamp")
			delete(in(d, "status"), "completionTimestamp")
		})), subject: metadataJSON, problem: "does not say when", reason: backup.ReasonNotCompleted},
		"completed, no time": {spec: change(metadataJSON, status("completionTimestamp", nil)), subject: metadataJSON, problem: "does not say since when", reason: backup.ReasonNotCompleted},
		"too old":            {exp: func(e *backup.Expectation) { e.MaxAge = 30 * time.Minute }, subject: metadataJSON, problem: "taken 1h0m0s ago, expected at most 30m0s", reason: backup.ReasonTooOld},
		"future":             {exp: func(e *backup.Expectation) { e.Now = e.Now.Add(-2 * time.Hour) }, subject: metadataJSON, problem: "not come yet", reason: backup.ReasonFromTheFuture},
		"expired":            {exp: func(e *backup.Expectation) { e.Now, e.MaxAge = e.Now.Add(9999*time.Hour), 0 }, severity: run.Warning, subject: metadataJSON, problem: "expired"},
		"other cluster":      {exp: func(e *backup.Expectation) { e.ClusterUID = "other" }, subject: metadataJSON, problem: "the target is other", reason: backup.ReasonOtherCluster},
		"unknown cluster":    {spec: backuptest.Spec{ClusterUID: "-"}, severity: run.Warning, subject: metadataJSON, problem: "does not say which cluster"},
		"unknown target":     {exp: func(e *backup.Expectation) { e.ClusterUID = "" }, severity: run.Warning, subject: metadataJSON, problem: "identity is not known"},
		"two clusters": {spec: backuptest.Spec{More: map[string][]string{"namespaces": {`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":"another"}}`}}},
			subject: metadataJSON, problem: "kube-system in the tarball says another", reason: backup.ReasonOtherCluster},
		"lower target":           {exp: func(e *backup.Expectation) { e.KubernetesVersion = "v1.35.9" }, subject: metadataJSON, problem: "is of Kubernetes v1.36.3, the target has v1.35.9", reason: backup.ReasonKubernetesMismatch},
		"much higher target":     {exp: func(e *backup.Expectation) { e.KubernetesVersion = "v1.38.0" }, severity: run.Warning, subject: metadataJSON, problem: "the target has v1.38.0"},
		"unknown version":        {spec: backuptest.Spec{Kubernetes: "?"}, severity: run.Warning, subject: metadataJSON, problem: "which Kubernetes"},
		"unknown target version": {exp: func(e *backup.Expectation) { e.KubernetesVersion = "" }, severity: run.Warning, subject: metadataJSON, problem: "the target's version is not known"},
		"another name":           {spec: change(metadataJSON, doc(func(d map[string]any) { in(d, "metadata")["name"] = "b2" })), subject: metadataJSON, problem: `is of the backup "b2"`, reason: backup.ReasonContent},
		"no Backup":              {spec: change(metadataJSON, text(`{"kind":"Restore","apiVersion":"velero.io/v1"}`)), subject: metadataJSON, problem: "expected a Backup", reason: backup.ReasonObjectBroken},
		"two documents":          {spec: change(metadataJSON, func(b []byte) []byte { return append(b, b...) }), subject: metadataJSON, problem: "behind its JSON", reason: backup.ReasonObjectBroken},
		"namespace excluded":     {spec: backuptest.Spec{Excluded: []string{"sh*"}}, subject: metadataJSON, problem: "does not include the namespace shop", reason: backup.ReasonOtherWorkload},
		"no StatefulSet":         {exp: func(e *backup.Expectation) { e.StatefulSet = "web" }, subject: tarball, problem: "does not hold the StatefulSet shop/web", reason: backup.ReasonOtherWorkload},

		"list names more":    {spec: change(resources, doc(func(d map[string]any) { d["v1/Secret"] = []string{"shop/credentials", "shop/lost"} })), subject: tarball, problem: "v1/Secret shop/lost is in the resource list and not in the tarball", reason: backup.ReasonContent},
		"list names less":    {spec: change(resources, doc(func(d map[string]any) { d["v1/Secret"] = nil })), subject: tarball, problem: "secrets shop/credentials is in the tarball and not in the resource list", reason: backup.ReasonContent},
		"list names twice":   {spec: change(resources, doc(func(d map[string]any) { d["v1/Secret"] = []string{"shop/credentials", "shop/credentials"} })), subject: resources, problem: "names v1/Secret shop/credentials twice", reason: backup.ReasonContent},
		"list is no list":    {spec: change(resources, text(`{"v1/Secret":{}}`)), subject: resources, problem: "expected a list of names", reason: backup.ReasonObjectBroken},
		"list cut":           {spec: change(resources, text(`{"v1/Secret":["shop/cr`)), subject: resources, problem: "ends before its end", reason: backup.ReasonObjectBroken},
		"object lost":        {spec: change(service, func([]byte) []byte { return nil }), subject: tarball, problem: "services shop/db is there only below its version", reason: backup.ReasonContent},
		"copy lost":          {spec: change("tar:resources/services/v1-preferredversion/namespaces/shop/db.json", func([]byte) []byte { return nil }), subject: tarball, problem: "have no second copy", reason: backup.ReasonContent},
		"copies differ":      {spec: change(service, doc(func(d map[string]any) { d["spec"] = nil })), subject: tarball, problem: "services shop/db has two copies that differ", reason: backup.ReasonContent},
		"object is no JSON":  {spec: change(service, text(`{"kind":}`)), subject: tarball, problem: "services shop/db: is not valid JSON", reason: backup.ReasonContent},
		"object's name":      {spec: change(service, doc(func(d map[string]any) { in(d, "metadata")["name"] = "dc" })), subject: tarball, problem: "the entry of services shop/db holds the object shop/dc", reason: backup.ReasonContent},
		"object's namespace": {spec: change(service, doc(func(d map[string]any) { in(d, "metadata")["namespace"] = "shoq" })), subject: tarball, problem: "holds the object shoq/db", reason: backup.ReasonContent},
		"object's group":     {spec: change(service, doc(func(d map[string]any) { d["apiVersion"] = "apps/v1" })), subject: tarball, problem: `of kind "Service" and apiVersion "apps/v1"`, reason: backup.ReasonContent},
		"object's version":   {spec: change(service, doc(func(d map[string]any) { d["apiVersion"] = "v2" })), subject: tarball, problem: "services shop/db is in the tarball and not in the resource list", reason: backup.ReasonContent},
		"object's kind":      {spec: change("tar:resources/persistentvolumeclaims/namespaces/shop/data-db-1.json", doc(func(d map[string]any) { d["kind"] = "Pod" })), subject: tarball, problem: "holds a /Pod, the other objects there are of kind /PersistentVolumeClaim", reason: backup.ReasonContent},
		"data not added twice": {spec: backuptest.Spec{Moved: true, Change: map[string]func([]byte) []byte{"tar:resources/datauploads.velero.io/namespaces/velero/b1-0.json": doc(func(d map[string]any) { d["spec"] = 1 })}},
			subject: tarball, problem: "datauploads.velero.io velero/b1-0 has two copies that differ", reason: backup.ReasonContent},
		"another version's object": {spec: backuptest.Spec{Versions: map[string][]string{"horizontalpodautoscalers.autoscaling": {hpa("v1")}}, Change: map[string]func([]byte) []byte{
			"tar:resources/horizontalpodautoscalers.autoscaling/v1/namespaces/shop/web.json": text(hpa("v2"))}}, subject: tarball, problem: `and apiVersion "autoscaling/v2"`, reason: backup.ReasonContent},
		"no format":         {spec: change("tar:metadata/version", func([]byte) []byte { return nil }), subject: tarball, problem: "has 0 entries metadata/version", reason: backup.ReasonContent},
		"other format":      {spec: change("tar:metadata/version", text("1.0.0\n")), subject: tarball, problem: `has the format "1.0.0", velero-backup.json says "1.1.0"`, reason: backup.ReasonContent},
		"tar without end":   {spec: change(tarball, func(b []byte) []byte { return b[:len(b)-1024] }), subject: tarball, problem: "its tar archive has no end", reason: backup.ReasonObjectBroken},
		"tar with half end": {spec: change(tarball, func(b []byte) []byte { return b[:len(b)-512] }), subject: tarball, problem: "its tar", reason: backup.ReasonObjectBroken},
		"tar cut":           {spec: change(tarball, func(b []byte) []byte { return b[:len(b)-3000] }), subject: tarball, problem: "its tar stream is broken", reason: backup.ReasonObjectBroken},
		"tar and more":      {spec: change(tarball, func(b []byte) []byte { return append(b, "more"...) }), subject: tarball, problem: "behind the end of its tar archive", reason: backup.ReasonObjectBroken},
		"tar and tar":       {spec: change(tarball, func(b []byte) []byte { return append(b, b...) }), subject: tarball, problem: "behind the end of its tar archive", reason: backup.ReasonObjectBroken},
		"nothing in it":     {spec: change(tarball, func(b []byte) []byte { return make([]byte, 1024) }), subject: tarball, problem: "holds no object", reason: backup.ReasonContent},

		"volume failed":  {spec: volume(nil, "result", "failed"), subject: volumeinfo, problem: `claim shop/data-db-0 has the result "failed"`, reason: backup.ReasonVolumes},
		"volume unknown": {spec: volume(nil, "result", ""), subject: volumeinfo, problem: `has the result ""`, reason: backup.ReasonVolumes},
		"operation lost": {spec: backuptest.Spec{Change: map[string]func([]byte) []byte{operations: text("[]"), volumeinfo: elements(func(e map[string]any) {
			delete(e, "result")
			delete(e, "completionTimestamp")
			delete(in(e, "csiSnapshotInfo"), "operationID")
		})}}, subject: volumeinfo, problem: `claim shop/data-db-0 has the snapshot "snap-b1-0", and no item operation that awaited it`, reason: backup.ReasonVolumes},
		"volume's method":     {spec: volume(nil, "backupMethod", "Magic"), subject: volumeinfo, problem: `the method "Magic"`, reason: backup.ReasonVolumes},
		"no handle":           {spec: volume(csi, "snapshotHandle", ""), subject: volumeinfo, problem: "without a snapshot's handle", reason: backup.ReasonVolumes},
		"unknown handle":      {spec: volume(csi, "snapshotHandle", "unknown"), subject: volumeinfo, problem: "without a snapshot's handle", reason: backup.ReasonVolumes},
		"no driver":           {spec: volume(csi, "driver", ""), subject: volumeinfo, problem: "names no CSI driver", reason: backup.ReasonVolumes},
		"not ready":           {spec: volume(csi, "ReadyToUse", false), subject: volumeinfo, problem: "was not ready to use", reason: backup.ReasonVolumes},
		"no snapshot":         {spec: volume(nil, "csiSnapshotInfo", nil), subject: volumeinfo, problem: "names no CSI snapshot", reason: backup.ReasonVolumes},
		"native without info": {spec: volume(nil, "backupMethod", "NativeSnapshot"), subject: volumeinfo, problem: "names no native snapshot", reason: backup.ReasonVolumes},
		"pod volume not done": {spec: change(volumeinfo, elements(func(e map[string]any) {
			e["backupMethod"], e["pvbInfo"] = "PodVolumeBackup", map[string]any{"snapshotHandle": "k", "Phase": "Failed"}
		})), subject: volumeinfo, problem: `has a PodVolumeBackup in phase "Failed"`, reason: backup.ReasonVolumes},
		"not moved": {spec: backuptest.Spec{Moved: true, Change: map[string]func([]byte) []byte{volumeinfo: elements(func(e map[string]any) { in(e, "snapshotDataMovementInfo")["Phase"] = "Canceled" })}},
			subject: volumeinfo, problem: `has a CSISnapshotWithDataMovement in phase "Canceled"`, reason: backup.ReasonVolumes},
		"claim not in the tarball": {spec: change(volumeinfo, func(b []byte) []byte {
			return append(bytes.TrimSuffix(bytes.TrimSpace(b), []byte("]")), `,{"pvcName":"gone","pvcNamespace":"shop","skipped":true}]`...)
		}), severity: run.Warning, subject: volumeinfo, problem: "claim shop/gone is not in the tarball"},
		"volume skipped":  {spec: change(volumeinfo, elements(func(e map[string]any) { e["skipped"], e["skippedReason"] = true, "policy" })), severity: run.Warning, subject: volumeinfo, problem: "claim shop/data-db-0 was skipped: policy"},
		"claim not there": {spec: change(volumeinfo, text("[]")), subject: volumeinfo, problem: "claim shop/data-db-0 with the volume pvc-db-0 is not among the volumes", reason: backup.ReasonVolumes},
		"elsewhere": {spec: change(volumeinfo, func(b []byte) []byte {
			return append(bytes.TrimSuffix(bytes.TrimSpace(b), []byte("]")), `,{"pvcName":"data-db-0","pvcNamespace":"bank","backupMethod":"CSISnapshot","csiSnapshotInfo":{"driver":"d","snapshotHandle":"h"},"result":"failed"}]`...)
		}), severity: run.Warning, subject: volumeinfo, problem: `claim bank/data-db-0 has the result "failed"`},
		"operation failed":  {spec: change(operations, elements(func(e map[string]any) { in(e, "status")["phase"], in(e, "status")["error"] = "Failed", "timed out" })), subject: operations, problem: `is in phase "Failed": timed out`, reason: backup.ReasonOperationFailed},
		"operation running": {spec: change(operations, elements(func(e map[string]any) { in(e, "status")["phase"] = "InProgress" })), subject: operations, problem: `"InProgress"`, reason: backup.ReasonOperationFailed},
		"added, not said":   {spec: backuptest.Spec{Moved: true, Change: map[string]func([]byte) []byte{operations: text("[]")}}, subject: tarball, problem: "datauploads.velero.io velero/b1-0 is in the tarball and not in the resource list", reason: backup.ReasonContent},
		"pod volumes": {spec: change("-podvolumebackups.json.gz", text(`[{"metadata":{"name":"p"},"spec":{"volume":"data","pod":{"name":"db-0","namespace":"shop"}},"status":{"phase":"Failed","message":"disk"}}]`)),
			subject: "-podvolumebackups.json.gz", problem: "the PodVolumeBackup p of volume data of pod shop/db-0", reason: backup.ReasonOperationFailed},
		"native snapshots": {spec: change("-volumesnapshots.json.gz", text(`[{"spec":{"persistentVolumeName":"pv"},"status":{"phase":"Failed"}}]`)),
			subject: "-volumesnapshots.json.gz", problem: `the snapshot "" of volume pv`, reason: backup.ReasonOperationFailed},
		"csi snapshots": {spec: backuptest.Spec{CSILists: true, Change: map[string]func([]byte) []byte{"-csi-volumesnapshots.json.gz": elements(func(e map[string]any) { in(e, "status")["readyToUse"] = false })}},
			subject: "-csi-volumesnapshots.json.gz", problem: "the VolumeSnapshot shop/velero-0 was not ready", reason: backup.ReasonOperationFailed},
		"csi classes": {spec: backuptest.Spec{CSILists: true, Change: map[string]func([]byte) []byte{"-csi-volumesnapshotclasses.json.gz": text(`{}`)}},
			subject: "-csi-volumesnapshotclasses.json.gz", problem: "expected a list", reason: backup.ReasonObjectBroken},
		"warnings": {spec: change("-results.gz", text(`{"errors":{},"warnings":{"velero":["something  is\nodd"]}}`)), severity: run.Note, subject: "-results.gz", problem: "the backup met the warning: something is odd"},
		"errors":   {spec: change("-results.gz", text(`{"errors":{"cluster":["lost"]}}`)), severity: run.Warning, subject: "-results.gz", problem: "the backup met the error: lost"},
	} {
		t.Run(name, func(t *testing.T) {
			exp := expectation()
			if c.exp != nil {
				c.exp(&exp)
			}
			v, err := backup.Verify(t.Context(), backuptest.NewStore(c.spec), "b1", exp)
			if err != nil {
				t.Fatal(err)
			}
			severity := c.severity
			if severity == "" {
				severity = run.Stop
			}
			found := false
			for _, f := range v.Findings {
				found = found || (f.Severity == severity && f.Subject == backuptest.Key("b1", c.subject) && strings.Contains(f.Problem, c.problem) && (f.Means != "" || severity == run.Note))
			}
			if !found {
				t.Errorf("%s %s %q is not among %+v", severity, c.subject, c.problem, v.Findings)
			}
			want := signal.True
			if severity == run.Stop {
				want = signal.False
				if v.Reason != c.reason {
					t.Errorf("reason %s, expected %s", v.Reason, c.reason)
				}
			}
			if v.Status != want {
				t.Errorf("status %s, expected %s: %+v", v.Status, want, v.Findings)
			}
		})
	}
}

// TestVerifyReportsEverything wants the findings of several things that are wrong at once, counted where there are too many.
func TestVerifyReportsEverything(t *testing.T) {
	s := backuptest.NewStore(backuptest.Spec{ConfigMaps: 100, Phase: "PartiallyFailed", Change: map[string]func([]byte) []byte{
		resources: doc(func(d map[string]any) { d["v1/ConfigMap"] = nil }), volumeinfo: text("[]")}})
	s.Truncate(backuptest.Key("b1", "-logs.gz"))
	s.Delete(backuptest.Key("b1", "-results.gz"))
	v, err := backup.Verify(t.Context(), s, "b1", expectation())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{metadataJSON, tarball, volumeinfo, "-logs.gz", "-results.gz"} {
		if _, ok := stopOn(v, backuptest.Key("b1", k)); !ok {
			t.Errorf("nothing about %s in %+v", k, v.Findings)
		}
	}
	all, _ := json.Marshal(v.Findings)
	if !strings.Contains(string(all), "and 76 more of the kind ContentMismatch") {
		t.Errorf("the rest is not counted: %s", all)
	}
}

// ended is a store that the caller stops waiting for when an object has been opened.
type ended struct {
	backup.Store
	key string
	end func()
}

func (e ended) Open(ctx context.Context, o backup.Object) (io.ReadCloser, error) {
	r, err := e.Store.Open(ctx, o)
	if o.Key == e.key {
		e.end()
	}
	return r, err
}

func TestVerifyOfWhatCannotBeRead(t *testing.T) {
	t.Run("no such backup", func(t *testing.T) {
		v, err := backup.Verify(t.Context(), backuptest.NewStore(), "b1", expectation())
		if err != nil || v.Status != signal.False || v.Reason != backup.ReasonMissing {
			t.Errorf("%+v %v", v, err)
		}
	})
	t.Run("no name", func(t *testing.T) {
		for _, name := range []string{"", "..", "a/b"} {
			if v, err := backup.Verify(t.Context(), backuptest.NewStore(), name, expectation()); err != nil || v.Status != signal.False {
				t.Errorf("%q: %+v %v", name, v, err)
			}
		}
	})
	t.Run("the list fails", func(t *testing.T) {
		s, refused := backuptest.NewStore(backuptest.Spec{}), errors.New("no route")
		s.FailList(refused)
		v, err := backup.Verify(t.Context(), s, "b1", expectation())
		if !errors.Is(err, refused) || v.Status != signal.Unknown || v.Reason != backup.ReasonUnreadable || len(v.Findings) == 0 {
			t.Errorf("%+v %v", v, err)
		}
	})
	for _, ending := range []string{metadataJSON, resources, tarball, "-logs.gz"} {
		t.Run("stalls at "+ending, func(t *testing.T) {
			s := backuptest.NewStore(backuptest.Spec{})
			s.Fault(backuptest.Key("b1", ending), backuptest.Stalled)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			v, err := backup.Verify(ctx, ended{s, backuptest.Key("b1", ending), cancel}, "b1", expectation())
			if !errors.Is(err, context.Canceled) || v.Status != signal.Unknown {
				t.Errorf("%s %v", v.Status, err)
			}
			if _, ok := stopOn(v, backuptest.Key("b1", ending)); !ok {
				t.Errorf("%+v", v.Findings)
			}
		})
	}
}
