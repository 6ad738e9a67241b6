package backupcmd

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/steptest"
)

// did lists what seal --all says that it did, by backup.
func (s *scene) did(code int) (out []string) {
	s.Helper()
	text, said, got := s.run("seal", "--all", "-o", "json")
	var r struct {
		Location string
		Backups  []struct{ Backup, Did, Why string }
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil || got != code || r.Location != "s3://velero/shop" {
		s.Fatalf("exit code %d, expected %d: %v %s%s", got, code, err, text, said)
	}
	for _, b := range r.Backups {
		if b.Why == "" {
			s.Errorf("%s was %s and it is not said why", b.Backup, b.Did)
		}
		out = append(out, b.Backup+" "+b.Did)
	}
	return out
}

func (s *scene) manifests() (out []string) {
	for _, k := range s.store.Keys() {
		if name, ok := strings.CutSuffix(k, "/"+backup.SignatureFile); ok {
			out = append(out, strings.TrimPrefix(name, "backups/"))
		}
	}
	return out
}

// TestSealAll: what a Schedule took is sealed, one by one, and only that; the second time there is nothing to do.
func TestSealAll(t *testing.T) {
	other, weekly, failed, going := spec("other", 4*time.Hour), spec("weekly", 5*time.Hour), spec("failed", 6*time.Hour), spec("going", 0)
	other.Namespace, weekly.Schedule, failed.Phase, going.Phase = "ledger", "weekly", "PartiallyFailed", "Finalizing"
	fresh := spec("fresh", 0)
	fresh.Completed = steptest.Start // the tarball may be from before
	s := newScene(t, spec("new", time.Hour), spec("old", 2*time.Hour), spec("sealed", 3*time.Hour), other, weekly, failed, going, fresh)
	if _, said, code := s.run("seal", "--all"); code != 2 || !strings.Contains(said, "no private key") {
		t.Errorf("exit code %d: %s", code, said)
	}
	s.sign()
	if _, said, code := s.run("seal", "--backup", "sealed"); code != 0 {
		t.Fatal(said)
	}
	text := strings.Replace(planText, `shop"}`, `shop", schedule: nightly}`, 1)
	if err := os.WriteFile(s.plan, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := s.did(0), []string{"fresh not yet", "going not yet", "new sealed", "old sealed", "failed not sealed"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	if got, want := s.manifests(), []string{"new", "old", "sealed"}; !slices.Equal(got, want) {
		t.Errorf("%q have manifests, expected %q", got, want)
	}
	if got, want := s.did(0), []string{"fresh not yet", "going not yet", "failed not sealed"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	out, _, code := s.run("seal", "--all")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	golden(t, "seal-all", out)
	if out, _, code := s.run("verify", "--backup", "old"); code != 0 || !strings.Contains(out, "integrity True") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// TestSealAllGoesOn: one that does not verify, or cannot be read, keeps none of the others from it, and the exit code tells.
func TestSealAllGoesOn(t *testing.T) {
	s := newScene(t, spec("a", time.Hour), spec("b", 2*time.Hour), spec("c", 3*time.Hour), spec("d", 4*time.Hour))
	s.sign()
	s.store.Truncate(backuptest.Key("b", ".tar.gz"))
	if got, want := s.did(1), []string{"a sealed", "b refused", "c sealed", "d sealed"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	s = newScene(t, spec("a", time.Hour), spec("b", 2*time.Hour), spec("c", 3*time.Hour), spec("d", 4*time.Hour))
	s.sign()
	s.store.Fault(backuptest.Key("b", ".tar.gz"), backuptest.Refused)
	s.store.Set("backups/c/"+backup.ManifestFile, []byte("{}"))
	s.store.Fault(backuptest.Key("d", "velero-backup.json"), backuptest.Broken)
	if got, want := s.did(2), []string{"a sealed", "b unreadable", "c failed", backuptest.Key("d", "velero-backup.json") + " unreadable"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}

func TestSealAllOfNothing(t *testing.T) {
	s := newScene(t)
	s.sign()
	if out, said, code := s.run("seal", "--all"); code != 0 || !strings.Contains(out, "every backup of the plan is sealed") {
		t.Errorf("exit code %d: %s%s", code, out, said)
	}
	for _, args := range [][]string{{"seal"}, {"seal", "--all", "--backup", "b"}} {
		if _, said, code := s.run(args...); code != 2 || !strings.Contains(said, "all") {
			t.Errorf("%v: exit code %d: %s", args, code, said)
		}
	}
}
