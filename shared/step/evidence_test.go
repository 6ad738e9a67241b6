package step

import (
	"os"
	"path/filepath"
	"testing"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

func TestEvidenceFiles(t *testing.T) {
	f := EvidenceFiles{Dir: t.TempDir()}
	for _, content := range []string{"one", "two", ""} {
		path, err := f.Put(t.Context(), "r", "a.json", []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := f.Get(t.Context(), "r", "a.json"); err != nil || string(back) != content {
			t.Errorf("%q %v", back, err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", fi, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(f.Dir, "r", "evidence", ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	for _, bad := range [][2]string{{"", "x"}, {"r", ""}, {"..", "x"}, {"r", "../x"}, {"r/s", "x"}} {
		if _, err := f.Put(t.Context(), bad[0], bad[1], nil); err == nil {
			t.Errorf("%q was written", bad)
		}
		if _, err := f.Get(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestKeepAndRecall(t *testing.T) {
	s := &Session{Run: run.Run{ID: "r"}, env: &Env{Evidence: EvidenceFiles{Dir: t.TempDir()}}}
	e, err := s.Keep(t.Context(), "a.json", []int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	var back []int
	if err := s.Recall(t.Context(), "a.json", e, &back); err != nil || len(back) != 2 {
		t.Errorf("%v %v", back, err)
	}
	for name, wrong := range map[string]*run.Evidence{"a.json": {URI: e.URI, Digest: "sha256:0"}, "b.json": e} {
		if err := s.Recall(t.Context(), name, wrong, &back); fault.From(err).Code != fault.UndoIncomplete {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.env = &Env{}
	if _, err := s.Keep(t.Context(), "a.json", 1); err == nil {
		t.Error("kept nowhere")
	}
}
