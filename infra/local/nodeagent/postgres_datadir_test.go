package nodeagent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func dataDirWith(t *testing.T, files map[string]string) *dataDir {
	t.Helper()
	d := &dataDir{site: siteOf(t, map[string]string{})}
	if files == nil {
		return d
	}
	if err := os.Mkdir(d.data(), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d.data(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestMajorVersionOfADataDirectory(t *testing.T) {
	for _, tc := range []struct{ tag, file, want string }{
		{"15", "", "15"}, {"15.18", "", "15"}, {"15-alpine", "", "15"}, {"17beta", "", "17"}, {"latest", "", ""}, {"", "", ""},
		{"15", "14\n", "14"}, // what wrote it counts
	} {
		var files map[string]string
		if tc.file != "" {
			files = map[string]string{"PG_VERSION": tc.file}
		}
		if got := dataDirWith(t, files).major(tc.tag); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
	}
}

// TestARestoredDirectoryIsMadeReady: the copy of a running server's directory has its lock file, and a mode that a server
// refuses.
func TestARestoredDirectoryIsMadeReady(t *testing.T) {
	d := dataDirWith(t, map[string]string{"PG_VERSION": "15\n", "postmaster.pid": "1\n/elsewhere\n", "row": "data"})
	if err := d.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.data(), "postmaster.pid")); !os.IsNotExist(err) {
		t.Errorf("the lock file is still there (%v)", err)
	}
	if b, err := os.ReadFile(filepath.Join(d.data(), "row")); err != nil || string(b) != "data" {
		t.Errorf("data is %q (%v)", b, err)
	}
	if info, err := os.Stat(d.data()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode is %v (%v), want 0700", info.Mode(), err)
	}
}

func TestADirectoryThatIsNoDatabaseIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"something else in it": {map[string]string{"notes.txt": "x"}, "holds no database"},
		"no password":          {nil, "POSTGRES_PASSWORD"},
		"empty, no password":   {map[string]string{}, "POSTGRES_PASSWORD"},
	} {
		d := dataDirWith(t, tc.files)
		if err := d.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}
