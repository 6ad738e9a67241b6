package rollback

import (
	"os"
	"testing"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// TestTheRollbackPointsListsComeFromTheEvidence, and from nothing else: bytes with another digest are refused before the first change.
func TestTheRollbackPointsListsComeFromTheEvidence(t *testing.T) {
	w := world(t, set, pod, claim, pv, vs)
	s, err := w.Env.Open(t.Context(), "CaptureRollbackPoint", w.Run)
	if err != nil {
		t.Fatal(err)
	}
	p := w.Run.RollbackPoint
	if p.Evidence, err = s.Keep(t.Context(), step.RollbackPointFile, step.RollbackPointLists{Snapshots: p.Snapshots, Claims: p.Claims}); err != nil {
		t.Fatal(err)
	}
	p.Snapshots, p.Claims, p.ClaimCount, p.SnapshotCount = nil, nil, 1, 1

	whole, err := os.ReadFile(p.Evidence.URI)
	if err == nil {
		err = os.WriteFile(p.Evidence.URI, append(whole, ' '), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Handler{Env: w.Env}).Handle(t.Context(), "start", "Rollback", w.Run); err == nil || fault.From(err).Code != fault.UndoIncomplete {
		t.Errorf("%v", err)
	}
	if writes := w.Writes(); len(writes) > 0 {
		t.Errorf("it wrote %v", writes)
	}

	if err := os.WriteFile(p.Evidence.URI, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := roll(w); out.Phase != run.Undone || len(out.DataRestored) != 1 {
		t.Errorf("%+v", out)
	}
}
