package nodeagent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestMajorOf(t *testing.T) {
	for version, want := range map[string]string{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": "15",
		"postgres (PostgreSQL) 9.6.24":                           "9",
		"postgres (PostgreSQL) 18beta1":                          "18",
		"postgres (PostgreSQL) 17":                               "17",
		"something else":                                         "",
	} {
		if got := majorOf(version); got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}

// programs puts scripts that say a version where a distribution would have them.
func programs(t *testing.T, root, dir, version string) string {
	t.Helper()
	bin := filepath.Join(root, dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(bin, p), []byte(fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", p, version)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func TestProgramsOfTheMachine(t *testing.T) {
	t.Setenv("PATH", "/usr/bin:/bin")
	root := t.TempDir()
	nine, fifteen := programs(t, root, "9", "9.6.24"), programs(t, root, "15", "15.18")
	if err := os.MkdirAll(filepath.Join(root, "17", "bin"), 0o755); err != nil { // removed, its directory left
		t.Fatal(err)
	}
	b := &binaries{debian: root}
	for major, want := range map[string]string{"": fifteen, "15": fifteen, "9": nine, "17": ""} {
		if got, err := b.local(t.Context(), major); err != nil || got != want {
			t.Errorf("major %q: %q (%v), want %q", major, got, err, want)
		}
	}
}

func TestAVersionThatNobodyBrings(t *testing.T) {
	b := &binaries{debian: t.TempDir(), cache: t.TempDir()}
	t.Setenv("PATH", "")
	if d, err := b.dir(t.Context(), "8"); err == nil {
		t.Errorf("PostgreSQL 8 was found in %s", d)
	}
}
