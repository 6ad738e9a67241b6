package runstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var errFull = errors.New("no space left on device")

func begun(t *testing.T) (*Record, string) {
	t.Helper()
	s := Store{Dir: t.TempDir()}
	rec, err := s.Open("shop-drill-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Begin(Checkpoint{Next: "Admit", Run: []byte(`{"id":"shop-drill-1"}`)}); err != nil {
		t.Fatal(err)
	}
	return rec, filepath.Join(s.Dir, "shop-drill-1", reserveFile)
}

// A write that fails gets the reserve's room, once, and is remembered.
func TestTheReserveIsForTheEnd(t *testing.T) {
	rec, reserve := begun(t)
	defer rec.Close()
	if info, err := os.Stat(reserve); err != nil || info.Size() < reserved/2 {
		t.Fatalf("the reserve: %v, %v", info, err)
	}
	full := func() error {
		if _, err := os.Stat(reserve); err == nil {
			return errFull
		}
		return nil
	}
	if err := rec.Keep(full); err != nil {
		t.Errorf("the write was not tried again with the reserve's room: %v", err)
	}
	if !errors.Is(rec.Short(), errFull) {
		t.Errorf("short is %v", rec.Short())
	}
	if err := rec.Keep(func() error { return errFull }); !errors.Is(err, errFull) {
		t.Errorf("a write that fails without a reserve: %v", err)
	}
	if err := rec.Keep(func() error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestTheReserveGoesWithTheRun(t *testing.T) {
	rec, reserve := begun(t)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(reserve); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the reserve is still there: %v", err)
	}
}

// What cannot begin leaves nothing behind.
func TestARunThatCannotBeKeptIsNotBegun(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	rec, err := s.Open("shop-drill-1")
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	dir := filepath.Join(s.Dir, "shop-drill-1")
	if err := os.Mkdir(filepath.Join(dir, reserveFile), 0o700); err != nil { // nothing can be written there
		t.Fatal(err)
	}
	if err := rec.Begin(Checkpoint{Next: "Admit", Run: []byte(`{}`)}); err == nil || !strings.Contains(err.Error(), "the run cannot be kept: ") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run's directory is still there: %v", err)
	}
}
