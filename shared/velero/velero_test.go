package velero_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/velero"
)

func TestPhases(t *testing.T) {
	type verdict struct{ Begun, ObjectsDone, Lost, Ended bool }
	for phase, want := range map[velero.Phase]verdict{
		"":                                {},
		velero.New:                        {},
		velero.FailedValidation:           {Begun: true, Lost: true, Ended: true},
		velero.InProgress:                 {Begun: true},
		velero.WaitingForPluginOperations: {Begun: true, ObjectsDone: true},
		velero.WaitingForPluginOperationsPartiallyFailed: {Begun: true, ObjectsDone: true, Lost: true},
		velero.Finalizing:                {Begun: true, ObjectsDone: true},
		velero.FinalizingPartiallyFailed: {Begun: true, ObjectsDone: true, Lost: true},
		velero.Completed:                 {Begun: true, ObjectsDone: true, Ended: true},
		velero.PartiallyFailed:           {Begun: true, ObjectsDone: true, Lost: true, Ended: true},
		velero.Failed:                    {Begun: true, ObjectsDone: true, Lost: true, Ended: true},
	} {
		if d := cmp.Diff(want, verdict{phase.Begun(), phase.ObjectsDone(), phase.Lost(), phase.Ended()}); d != "" {
			t.Errorf("%q: %s", phase, d)
		}
	}
}

func TestBuilders(t *testing.T) {
	r := velero.NewRestore(velero.RestoreOptions{Name: velero.RestoreName("shop-drill-1"), Namespace: "velero", Backup: "b1", From: "shop", To: "drill-shop-drill-1",
		Resources: []string{"secrets", "statefulsets.apps"}, Modifiers: "m", OperationTimeout: time.Hour})
	backup := velero.NewBackup(velero.BackupOptions{Name: "b1", Namespace: "velero", StorageLocation: "default", Namespaces: []string{"shop"}, TTL: 72 * time.Hour, MoveData: true,
		Labels: map[string]string{"a": "b"}})
	for want, got := range map[string]any{
		`{"apiVersion":"velero.io/v1","kind":"Restore","metadata":{"name":"drill-shop-drill-1","namespace":"velero"},"spec":{"backupName":"b1","existingResourcePolicy":"none","includedNamespaces":["shop"],"includedResources":["secrets","statefulsets.apps"],"itemOperationTimeout":"1h0m0s","namespaceMapping":{"shop":"drill-shop-drill-1"},"preserveNodePorts":false,"resourceModifier":{"kind":"ConfigMap","name":"m"},"restorePVs":true}}`: r.Object,
		`{"apiVersion":"velero.io/v1","kind":"Backup","metadata":{"labels":{"a":"b"},"name":"b1","namespace":"velero"},"spec":{"includedNamespaces":["shop"],"snapshotMoveData":true,"snapshotVolumes":true,"storageLocation":"default","ttl":"72h0m0s"}}`:                                                                                                                                                                                          backup.Object,
	} {
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(text)); d != "" {
			t.Error(d)
		}
	}
}

func TestLocation(t *testing.T) {
	for want, l := range map[string][2]string{"s3://bucket": {"bucket", ""}, "s3://bucket/a/b": {"bucket", "/a/b/"}} {
		var bsl velero.BackupStorageLocation
		bsl.Spec.ObjectStorage.Bucket, bsl.Spec.ObjectStorage.Prefix = l[0], l[1]
		if got := bsl.Location(); got != want || !velero.SameLocation(got, want+"/") || velero.SameLocation(got, want+"x") {
			t.Errorf("%s, expected %s", got, want)
		}
	}
}

func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestResults(t *testing.T) {
	got, err := velero.ReadResults(bytes.NewReader(zipped(t, `{"errors":{"velero":["v"],"namespaces":{"b":["in b"],"a":["in a"]}},"warnings":{"cluster":["c"]}}`)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(velero.Results{Errors: []string{"v", "in a", "in b"}, Warnings: []string{"c"}}, got); d != "" {
		t.Error(d)
	}
	for name, data := range map[string][]byte{"not gzip": []byte("{}"), "not JSON": zipped(t, "x"), "cut off": zipped(t, `{"errors":{}}`)[:12]} {
		if _, err := velero.ReadResults(bytes.NewReader(data)); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if k := velero.ResultsKey("r"); k != "restores/r/restore-r-results.gz" {
		t.Error(k)
	}
}

func FuzzReadResults(f *testing.F) {
	f.Add([]byte(`{"errors":{"velero":["v"]}}`), true)
	f.Add([]byte("x"), false)
	f.Fuzz(func(t *testing.T, data []byte, zip bool) {
		if zip {
			data = zipped(t, string(data))
		}
		if r, err := velero.ReadResults(bytes.NewReader(data)); err != nil && len(r.Errors)+len(r.Warnings) > 0 {
			t.Error("results and an error")
		}
	})
}
