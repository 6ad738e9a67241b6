package backups

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/run"
)

// damage is what becomes of an object.
type damage string

const (
	missing   damage = "missing"
	truncated damage = "truncated"
	// flipped is behind the S3 server's back: ETag, version and checksum stay.
	flipped damage = "one byte flipped in storage"
	// forged is a new version with a checksum of its own: only the manifest tells.
	forged damage = "one byte flipped by somebody"
)

// spoil damages an object, and returns what puts it back.
func (w *world) spoil(t *testing.T, key string, how damage) (repair func()) {
	t.Helper()
	flip := func(data []byte) []byte {
		at := len(data) / 2
		if strings.HasSuffix(key, ".gz") {
			at = 4 // the time in gzip's header: neither its checksum nor what is in it tells
		}
		data[at] ^= 1
		return data
	}
	switch how {
	case missing:
		return w.hide(t, key)
	case truncated:
		return w.overwrite(t, key, func(data []byte) []byte { return data[:len(data)/2] })
	case flipped:
		return w.overwrite(t, key, flip)
	}
	data, err := os.ReadFile(w.bucket(filepath.FromSlash(key)))
	if err != nil {
		t.Fatal(err)
	}
	return w.put(t, key, flip(data))
}

// hide takes an object's file away.
func (w *world) hide(t *testing.T, key string) (repair func()) {
	t.Helper()
	path, aside := w.bucket(filepath.FromSlash(key)), filepath.Join(w.Dir, "aside-"+filepath.Base(key))
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	return once(t, func() error { return os.Rename(aside, path) })
}

// overwrite changes an object's file in place: the attributes in which the S3 server keeps ETag and version stay.
func (w *world) overwrite(t *testing.T, key string, change func([]byte) []byte) (repair func()) {
	t.Helper()
	path := w.bucket(filepath.FromSlash(key))
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(append([]byte(nil), was...)), 0o600); err != nil {
		t.Fatal(err)
	}
	return once(t, func() error { return os.WriteFile(path, was, 0o600) })
}

// once is called by the test, or at its end when the test did not get so far.
func once(t *testing.T, do func() error) func() {
	done := false
	f := func() {
		if !done {
			done = true
			if err := do(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(f)
	return f
}

// TestDamage: whatever object of a backup is damaged, the drill ends before anything is created, and names the object.
func TestDamage(t *testing.T) {
	w := theWorld
	name := w.backup(t)
	if all := w.objects(t, "backups/"+name+"/"); len(all) != 11 {
		t.Fatalf("objects %v, want nine of Velero's, the manifest and its signature", all)
	}
	strict := w.with(t, named(name), replaced("integrity: {", "integrity: {manifest: Required, "))
	w.damaged(t, name, strict, []damage{missing, truncated, flipped, forged}, w.verifies)
}

// TestDamageWithoutManifest: what is missing or cut off is found without one as well.
func TestDamageWithoutManifest(t *testing.T) {
	w := theWorld
	name := w.backup(t)
	w.hide(t, "backups/"+name+"/"+backup.ManifestFile)
	w.hide(t, "backups/"+name+"/"+backup.SignatureFile)
	w.damaged(t, name, w.with(t, named(name)), []damage{missing, truncated}, func(*testing.T, string) {})
}

// damaged damages each object of a backup in each way, and checks that a drill refuses the backup because of it; then is called when
// the object is whole again.
func (w *world) damaged(t *testing.T, name string, plan testbed.Option, ways []damage, then func(*testing.T, string)) {
	t.Helper()
	check := w.guard(t)
	for _, key := range w.objects(t, "backups/"+name+"/") {
		for _, how := range ways {
			t.Run(strings.TrimPrefix(filepath.Base(key), name)+" "+string(how), func(t *testing.T) {
				repair := w.spoil(t, key, how)
				res := w.Start(t, run.Drill, plan)
				repair()
				w.refused(t, res)
				stopped(t, res.Run.Backup, key)
				says(t, res, key)
				then(t, name)
			})
		}
	}
	check()
}

// stopped checks that a finding stops the restore and names the object. A manifest that was changed is not the one that was signed.
func stopped(t *testing.T, b *run.Backup, key string) {
	t.Helper()
	for _, f := range b.Findings {
		if f.Severity == run.Stop && (f.Subject == key || f.Subject == key+".sig") {
			return
		}
	}
	t.Errorf("no finding that stops names %s: %+v", key, b.Findings)
}
