package runstore

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

func TestARunIsKeptAndLocked(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	rec, err := s.Open("shop-drill-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("shop-drill-1"); !errors.Is(err, ErrBusy) {
		t.Fatalf("a second open: %v, want ErrBusy", err)
	}
	state, _ := json.Marshal(run.Run{ID: "shop-drill-1", Mode: run.Drill, StartedAt: time.Unix(5, 0)})
	if err := rec.Checkpoint(Checkpoint{Next: "TakeLease", Run: state}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := rec.Event(map[string]int{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Load("shop-drill-1")
	if err != nil || !got.Alive || got.End != nil || got.Checkpoint.Next != "TakeLease" || got.Run.Mode != run.Drill {
		t.Fatalf("while it runs: %+v, %v", got, err)
	}
	// A kill in the middle of an event leaves a torn line.
	f, err := os.OpenFile(filepath.Join(got.Dir, eventsFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"n":`); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), rec.Close()); err != nil {
		t.Fatal(err)
	}
	got, err = s.Load("shop-drill-1")
	if err != nil || got.Alive {
		t.Fatalf("after its process ended: alive %v, %v", got.Alive, err)
	}
	es, err := Events[map[string]int](got.Dir)
	if err != nil || len(es) != 3 {
		t.Fatalf("events %v, %v; want 3", es, err)
	}
	all, err := s.List()
	if err != nil || len(all) != 1 {
		t.Fatalf("list %v, %v", all, err)
	}
}

func TestListNamesWhatItCannotRead(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(s.Dir, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "broken", checkpointFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err == nil || len(all) != 0 {
		t.Fatalf("list %v, err %v: want an error that names the run", all, err)
	}
}

func TestOpenRefusesPaths(t *testing.T) {
	for _, id := range []string{"", "../x", "a/b", ".hidden"} {
		if _, err := (Store{Dir: t.TempDir()}).Open(id); err == nil {
			t.Errorf("run ID %q was accepted", id)
		}
	}
}
