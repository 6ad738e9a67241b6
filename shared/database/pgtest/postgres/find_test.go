package postgres

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
	f := Finder{Root: root}
	for major, want := range map[string]string{"": fifteen, "15": fifteen, "9": nine, "17": ""} {
		if got, err := f.local(t.Context(), major); err != nil || got != want {
			t.Errorf("major %q: %q (%v), want %q", major, got, err, want)
		}
	}
}

func TestProgramsThatTheServerMayNotEnter(t *testing.T) {
	t.Setenv("PATH", "")
	root := t.TempDir()
	fifteen, closed := programs(t, root, "15", "15.18"), programs(t, root, "16", "16.4")
	f := Finder{Root: root, MayEnter: func(dir string) error {
		if dir == closed {
			return os.ErrPermission
		}
		return nil
	}}
	if got, err := f.Find(t.Context(), ""); err != nil || got != fifteen {
		t.Errorf("%q (%v), want %q", got, err, fifteen)
	}
}

// TestTheCacheIsAskedBeforeMavenCentral: programs that are there are not brought.
func TestTheCacheIsAskedBeforeMavenCentral(t *testing.T) {
	t.Setenv("PATH", "")
	cache := t.TempDir()
	want := programs(t, cache, "15", "15.18")
	for _, major := range []string{"", "15"} {
		if got, err := (Finder{Root: t.TempDir(), Cache: cache}).Find(t.Context(), major); err != nil || got != want {
			t.Errorf("major %q: %q (%v), want %q", major, got, err, want)
		}
	}
}

func TestAVersionThatNobodyBrings(t *testing.T) {
	f := Finder{Root: t.TempDir(), Cache: t.TempDir()}
	t.Setenv("PATH", "")
	if d, err := f.Find(t.Context(), "8"); err == nil {
		t.Errorf("PostgreSQL 8 was found in %s", d)
	}
}
