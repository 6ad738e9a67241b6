package mariadb

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVersionOf(t *testing.T) {
	for out, want := range map[string]string{
		"/usr/sbin/mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)\n":     "10.11.19-MariaDB-0+deb12u1",
		"bin/mariadbd  Ver 11.4.5-MariaDB for linux-systemd on x86_64 (MariaDB Server)":                       "11.4.5-MariaDB",
		"/usr/sbin/mysqld  Ver 8.4.5 for Linux on x86_64 (MySQL Community Server - GPL, forked from MariaDB)": "",
		"mariadbd  Ver ": "",
		"":               "",
	} {
		got, ok := versionOf(out)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %t; want %q", out, got, ok, want)
		}
	}
}

func FuzzVersionOf(f *testing.F) {
	f.Add("/usr/sbin/mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)\n")
	f.Add("  Ver MariaDB")
	f.Fuzz(func(t *testing.T, out string) {
		v, ok := versionOf(out)
		if ok && (!strings.Contains(v, "MariaDB") || strings.Contains(v, " ") || !strings.Contains(out, v)) {
			t.Errorf("%q: version %q", out, v)
		}
	})
}

// installation makes what looks like one that says a version, with every script but those left out.
func installation(t *testing.T, says string, without ...string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{"share/mysql/english/errmsg.sys": "", "share/mysql/maria_add_gis_sp_bootstrap.sql": "", "share/mysql/mysql_system_tables.sql": "",
		"share/mysql/mysql_performance_tables.sql": "", "share/mysql/mysql_system_tables_data.sql": "", "share/mysql/mysql_sys_schema.sql": "",
		"sbin/mysqld": "#!/bin/sh\necho '" + says + "'\n"}
	for _, w := range without {
		delete(files, w)
	}
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestProgramsOfTheMachine(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	const says = "mysqld  Ver %s for Linux on x86_64"
	good := installation(t, fmt.Sprintf(says, "10.11.19-MariaDB"))
	for name, c := range map[string]struct {
		roots []string
		want  string // in the error
	}{
		"an installation": {roots: []string{good}},
		"MySQL":           {[]string{installation(t, fmt.Sprintf(says, "8.4.5"))}, "is no MariaDB server"},
		"no scripts":      {[]string{installation(t, fmt.Sprintf(says, "10.11.19-MariaDB"), "share/mysql/mysql_system_tables.sql")}, "no SQL scripts"},
		"no messages":     {[]string{installation(t, fmt.Sprintf(says, "10.11.19-MariaDB"), "share/mysql/english/errmsg.sys")}, "no SQL scripts"},
		"after MySQL":     {roots: []string{installation(t, fmt.Sprintf(says, "8.4.5")), good}},
		"nothing":         {roots: []string{t.TempDir()}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Finder{Roots: c.roots}.local(t.Context())
			switch {
			case c.want != "":
				if p.Server != "" || err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("found %+v, %v; want an error with %q", p, err, c.want)
				}
			case name == "nothing":
				if p.Server != "" || err != nil {
					t.Errorf("found %+v, %v; want nothing", p, err)
				}
			case p.Server != filepath.Join(good, "sbin", "mysqld") || p.Share != filepath.Join(good, "share", "mysql") || p.Base != good || p.Version != "10.11.19-MariaDB":
				t.Errorf("found %+v, %v; want that of %s", p, err, good)
			}
		})
	}
}

func TestWhereNobodyMayEnter(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	root := installation(t, "mysqld  Ver 10.11.19-MariaDB for Linux on x86_64")
	closed := fmt.Errorf("closed")
	if p, err := (Finder{Roots: []string{root}, MayEnter: func(string) error { return closed }}).local(t.Context()); p.Server != "" || err == nil {
		t.Errorf("found %+v, %v; want nothing that may not be entered", p, err)
	}
}
