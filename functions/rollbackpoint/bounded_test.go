package rollbackpoint

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const claims = 200

func manyClaims(t *testing.T) (*steptest.World, run.RollbackPoint) {
	t.Helper()
	objects := []string{strings.Replace(set, "replicas: 2", fmt.Sprintf("replicas: %d", claims), 1), class}
	for i := range claims {
		objects = append(objects, claim(i, "Bound"), pv(i))
		if i%2 == 0 {
			objects = append(objects, snapshot(fmt.Sprintf("nightly-of-the-claim-with-a-long-name-%d", i), i, "2026-11-16T00:00:00Z")...)
		}
	}
	w := steptest.New(t, run.Recover, shop(plan.SnapshotsExisting), objects...)
	return w, capture(w, &Handler{})
}

// TestManyClaims: the section stays under its limit, and everything is read back from the evidence.
func TestManyClaims(t *testing.T) {
	w, p := manyClaims(t)
	b, err := json.Marshal(p)
	if err != nil || len(b) > run.SectionLimit {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if p.Phase != run.Captured || p.ClaimCount != claims || p.SnapshotCount != claims/2 || p.Evidence == nil || len(p.Claims) == 0 || len(p.Claims) == claims {
		t.Errorf("%d claims, %d snapshots listed, %+v", len(p.Claims), len(p.Snapshots), p.Evidence)
	}
	s, err := w.Env.Open(t.Context(), "Rollback", w.Run)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := s.RollbackPoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(whole.Claims) != claims || len(whole.Snapshots) != claims/2 || whole.Claims[199].Volume == "" || whole.Snapshots[99].Handle == "" {
		t.Errorf("%d claims, %d snapshots", len(whole.Claims), len(whole.Snapshots))
	}
	if fi, err := os.Stat(p.Evidence.URI); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi, err)
	}
}

// TestChangedEvidence is refused: nothing is put back from what this run did not write.
func TestChangedEvidence(t *testing.T) {
	for name, spoil := range map[string]func(path string, b []byte) error{
		"changed": func(path string, b []byte) error {
			return os.WriteFile(path, []byte(strings.Replace(string(b), "handle-", "handel-", 1)), 0o600)
		},
		"cut":  func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)/2], 0o600) },
		"gone": func(path string, _ []byte) error { return os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			w, p := manyClaims(t)
			b, err := os.ReadFile(p.Evidence.URI)
			if err == nil {
				err = spoil(p.Evidence.URI, b)
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := w.Env.Open(t.Context(), "Rollback", w.Run)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.RollbackPoint(t.Context()); err == nil || fault.From(err).Code != fault.UndoIncomplete {
				t.Errorf("%v", err)
			}
		})
	}
}
