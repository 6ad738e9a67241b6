package nodeagent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

func mariaDirWith(t *testing.T, env map[string]string, files ...string) *mariaDir {
	t.Helper()
	d := &mariaDir{site: siteOf(t, env)}
	for _, f := range files {
		p := filepath.Join(d.volume, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("data"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestARestoredMariaDBDirectoryIsMadeReady: the copy has the temporary files of the server it was taken from, and its certificate.
func TestARestoredMariaDBDirectoryIsMadeReady(t *testing.T) {
	d := mariaDirWith(t, nil, "mariadb/ibdata1", "tmp/ib0001", "tls/"+mariadb.KeyFile)
	if err := d.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if es, err := os.ReadDir(d.temp()); err != nil || len(es) != 0 {
		t.Errorf("temporary files %v (%v), want none", es, err)
	}
	for _, f := range []string{"mariadb/ibdata1", "tls/" + mariadb.KeyFile} {
		if b, err := os.ReadFile(filepath.Join(d.volume, f)); err != nil || string(b) != "data" {
			t.Errorf("%s holds %q (%v)", f, b, err)
		}
	}
}

func TestMariaDBVolumesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		env   map[string]string
		files []string
		want  string
	}{
		"no database":          {files: []string{"mariadb/something"}, want: "holds no database"},
		"empty, no password":   {want: "MARIADB_ROOT_PASSWORD"},
		"user, no password":    {env: map[string]string{"MARIADB_ROOT_PASSWORD": "r", "MARIADB_USER": "u"}, want: "password"},
		"password, no scripts": {env: map[string]string{"MARIADB_ROOT_PASSWORD": "r"}, want: "errmsg.sys"},
	} {
		t.Run(name, func(t *testing.T) {
			d := mariaDirWith(t, c.env, c.files...)
			if err := d.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if _, err := os.Stat(d.data()); (err == nil) != (len(c.files) > 0) {
				t.Errorf("data directory: %v", err)
			}
		})
	}
}

// TestAnInitialisationThatFailsLeavesNoDatabase: the next attempt starts anew.
func TestAnInitialisationThatFailsLeavesNoDatabase(t *testing.T) {
	d := mariaDirWith(t, map[string]string{"MARIADB_ROOT_PASSWORD": "r"})
	d.programs = mariadb.Programs{Server: filepath.Join(t.TempDir(), "mariadbd"), Share: t.TempDir()}
	for _, f := range []string{"english/errmsg.sys", "mariadb_system_tables.sql", "mariadb_performance_tables.sql", "mariadb_system_tables_data.sql",
		"maria_add_gis_sp_bootstrap.sql", "mariadb_sys_schema.sql"} {
		p := filepath.Join(d.programs.Share, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.programs.Server, []byte("#!/bin/sh\ntouch ibdata1\necho no room >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("error %v, want what the server said", err)
	}
	if _, err := os.Stat(d.data()); err == nil {
		t.Error("a failed attempt looks like a database")
	}
	if err := os.WriteFile(d.programs.Server, []byte("#!/bin/sh\ncat >/dev/null\ntouch ibdata1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.data(), "ibdata1")); err != nil {
		t.Errorf("the database is not there: %v", err)
	}
}
