package events

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestBackupKeys: only the one object of a backup in the place counts, whatever a rule lets through.
func TestBackupKeys(t *testing.T) {
	raw := string(sample(t, "backup-written.json"))
	const key = "eu/main/backups/shop-20261120020000/velero-backup.json"
	if !strings.Contains(raw, key) {
		t.Fatalf("the sample is not of %s", key)
	}
	for _, c := range []struct{ bucket, prefix, key, name string }{
		{"velero-eu", "eu/main", key, "shop-20261120020000"},
		{"velero-eu", "", "backups/b.1/velero-backup.json", "b.1"},
		{"velero-us", "eu/main", key, ""},
		{"velero-eu", "eu", key, ""},
		{"velero-eu", "", key, ""},
		{"velero-eu", "eu/main", "eu/main/backups/velero-backup.json", ""},
		{"velero-eu", "eu/main", "eu/main/backups/a/b/velero-backup.json", ""},
		{"velero-eu", "eu/main", "eu/main/backups/../velero-backup.json", ""},
		{"velero-eu", "eu/main", "eu/main/backups/B1/velero-backup.json", ""},
		{"velero-eu", "eu/main", "eu/main/backups/b1/velero-backup.json.sig", ""},
		{"velero-eu", "eu/main", "eu/main/restores/b1/velero-backup.json", ""},
		{"velero-eu", "eu/main", "eu/mainbackups/b1/velero-backup.json", ""},
		{"velero-eu", "eu/main", "eu/main/backups/b1/fallback-manifest.json", ""},
	} {
		e, err := BackupWritten{Bucket: c.bucket, Prefix: c.prefix}.Parse(Input{Raw: []byte(strings.Replace(raw, key, c.key, 1))})
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		b, ours := e.(Backup)
		if n, no := e.(NoOp); ours == no || ours != (c.name != "") || b.Name != c.name || no && n.Reason == "" {
			t.Errorf("%+v: %T %+v", c, e, e)
		}
	}
}

// TestBackupMistakes names every field that is wrong.
func TestBackupMistakes(t *testing.T) {
	for raw, fields := range map[string][]string{
		`{}`: {"id", "time", "detail"},
		`{"id":"x","time":"noon","detail":{"bucket":{},"object":{"key":5,"version-id":5}}}`: {"time", "detail.bucket.name", "detail.object.key", "detail.object.version-id"},
		`{"id":"x","time":"2026-11-20T02:00:00Z","detail":{}}`:                              {"detail.bucket", "detail.object"},
	} {
		_, err := place().Parse(Input{Raw: []byte(raw)})
		bad, ok := err.(Mistakes)
		if !ok {
			t.Fatalf("%s: %v of type %T", raw, err, err)
		}
		named := map[string]bool{}
		for _, m := range bad {
			named[m.Field] = true
		}
		for _, f := range fields {
			if !named[f] {
				t.Errorf("%s: %q is not named in %q", raw, f, bad)
			}
		}
	}
}

// TestBackupIsNoTrigger: what starts runs leaves S3's events alone.
func TestBackupIsNoTrigger(t *testing.T) {
	e, err := registry(t, machine).Parse(sample(t, "backup-written.json"))
	if n, ok := e.(NoOp); err != nil || !ok || !json.Valid([]byte(`"`+n.ID+`"`)) || n.ID == "" {
		t.Errorf("%T %+v %v", e, e, err)
	}
}
