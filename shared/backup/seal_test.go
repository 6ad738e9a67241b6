package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

const (
	manifestKey  = "backups/b1/" + backup.ManifestFile
	signatureKey = "backups/b1/" + backup.SignatureFile
)

func TestManifestHoldsEveryObject(t *testing.T) {
	s, _ := sealed(t, backuptest.Spec{CSILists: true})
	m, err := backup.ParseManifest(s.Get(manifestKey))
	if err != nil {
		t.Fatal(err)
	}
	if m.Backup != "b1" || m.ClusterUID != backuptest.Cluster || !m.SealedAt.Equal(backuptest.Now()) || !strings.HasPrefix(m.KeyID, "sha256:") {
		t.Errorf("%+v", m)
	}
	var have, want []string
	for _, o := range m.Objects {
		have = append(have, o.Key)
		if o.Version == "" || o.Size == 0 {
			t.Errorf("%+v", o)
		}
	}
	for _, k := range s.Keys() {
		if k != manifestKey && k != signatureKey {
			want = append(want, k)
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
}

// TestSealRefuses: a seal is worth what was verified before it.
func TestSealRefuses(t *testing.T) {
	key := signer(t)
	for name, c := range map[string]struct {
		spec    backuptest.Spec
		cluster string
		before  func(*backuptest.Store)
		want    error
	}{
		"a broken backup":           {before: func(s *backuptest.Store) { s.Truncate(backuptest.Key("b1", "-logs.gz")) }, want: backup.ErrNotSealed},
		"one that is not completed": {spec: backuptest.Spec{Phase: "PartiallyFailed"}, want: backup.ErrNotSealed},
		"no backup":                 {before: func(s *backuptest.Store) { clear(s) }, want: backup.ErrNotSealed},
		"another cluster's":         {cluster: "other", want: backup.ErrNotSealed},
		"a manifest that differs": {before: func(s *backuptest.Store) {
			if _, err := backup.Seal(t.Context(), s, "b1", "", expectation(), key); err != nil {
				t.Fatal(err)
			}
			s.Set(backuptest.Key("b1", "-logs.gz"), backuptest.Gzip([]byte("another log\n")))
		}, want: backup.ErrNotSealed},
		"another key's manifest": {before: func(s *backuptest.Store) {
			if _, err := backup.Seal(t.Context(), s, "b1", "", expectation(), signer(t)); err != nil {
				t.Fatal(err)
			}
		}, want: backup.ErrNotSealed},
		"a manifest without signature that differs": {before: func(s *backuptest.Store) {
			if _, err := backup.Seal(t.Context(), s, "b1", "", expectation(), key); err != nil {
				t.Fatal(err)
			}
			s.Delete(signatureKey)
			s.Set(backuptest.Key("b1", "-logs.gz"), backuptest.Gzip([]byte("another log\n")))
		}, want: fs.ErrExist},
		"a manifest without signature that is none": {before: func(s *backuptest.Store) { s.Set(manifestKey, []byte("{}")) }, want: fs.ErrExist},
		"a signature without manifest":              {before: func(s *backuptest.Store) { s.Set(signatureKey, []byte("x")) }, want: fs.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			s := backuptest.NewStore(c.spec)
			if c.before != nil {
				c.before(s)
			}
			before := s.Get(manifestKey)
			exp := expectation()
			exp.ClusterUID = ""
			_, err := backup.Seal(t.Context(), s, "b1", c.cluster, exp, key)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, expected %v", err, c.want)
			}
			if string(before) != string(s.Get(manifestKey)) {
				t.Error("the manifest was written over")
			}
		})
	}
}

func clear(s *backuptest.Store) {
	for _, k := range s.Keys() {
		s.Delete(k)
	}
}

func TestSealTwice(t *testing.T) {
	s, key := backuptest.NewStore(backuptest.Spec{}), signer(t)
	seal := func() backup.Verified {
		t.Helper()
		v, err := backup.Seal(t.Context(), s, "b1", "", expectation(), key)
		if err != nil || v.Integrity != signal.True || !v.Sealed {
			t.Fatalf("%+v %v", v, err)
		}
		return v
	}
	v := seal()
	m, sig := string(s.Get(manifestKey)), string(s.Get(signatureKey))
	if w := seal(); w.Listing != v.Listing || m != string(s.Get(manifestKey)) || sig != string(s.Get(signatureKey)) {
		t.Error("the second seal changed something")
	}
	s.Delete(signatureKey) // as if the first had been cut off
	if seal(); m != string(s.Get(manifestKey)) || s.Get(signatureKey) == nil {
		t.Error("the cut-off seal was not completed")
	}
}

// TestSealsAtOnce: whoever loses signs what the winner wrote, or finds it written.
func TestSealsAtOnce(t *testing.T) {
	s, key := backuptest.NewStore(backuptest.Spec{}), signer(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := backup.Seal(t.Context(), s, "b1", "", expectation(), key); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, backup.ErrNotSealed) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	exp := expectation()
	exp.Key, exp.ManifestRequired = key, true
	if v, err := backup.Verify(t.Context(), s, "b1", exp); err != nil || v.Integrity != signal.True {
		t.Errorf("%+v %v", v, err)
	}
}

// away is a key that cannot be reached.
type away struct{ backup.Signer }

func (away) Verify(context.Context, []byte, []byte) error { return errors.New("no route to the key") }

func TestVerifyWithManifest(t *testing.T) {
	edit := func(f func(map[string]any)) func(*testing.T, *backuptest.Store, *backup.Expectation) {
		return func(t *testing.T, s *backuptest.Store, exp *backup.Expectation) {
			var d map[string]any
			if err := json.Unmarshal(s.Get(manifestKey), &d); err != nil {
				t.Fatal(err)
			}
			f(d)
			b, _ := json.Marshal(d)
			sig, err := exp.Key.(backup.Signer).Sign(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			s.Set(manifestKey, b)
			s.Set(signatureKey, sig)
		}
	}
	logs := backuptest.Key("b1", "-logs.gz")
	for name, c := range map[string]struct {
		do        func(*testing.T, *backuptest.Store, *backup.Expectation)
		integrity signal.Status
		status    signal.Status
		severity  string
		subject   string
		problem   string
	}{
		"manifest flipped":   {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) { s.Flip(manifestKey, 40) }, signal.False, signal.False, run.Stop, signatureKey, "is not the signature"},
		"manifest truncated": {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) { s.Truncate(manifestKey) }, signal.False, signal.False, run.Stop, signatureKey, "is not the signature"},
		"signature flipped":  {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) { s.Flip(signatureKey, 20) }, signal.False, signal.False, run.Stop, signatureKey, "is not the signature"},
		"signature missing":  {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) { s.Delete(signatureKey) }, signal.False, signal.False, run.Stop, signatureKey, "is missing"},
		"signature too large": {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) {
			s.Set(signatureKey, make([]byte, 5000))
		}, signal.Unknown, signal.False, run.Stop, signatureKey, "it has 5000"},
		"manifest refused": {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) {
			s.Fault(manifestKey, backuptest.Refused)
		}, signal.Unknown, signal.Unknown, run.Stop, manifestKey, "refused"},
		"another key":      {func(t *testing.T, _ *backuptest.Store, e *backup.Expectation) { e.Key = signer(t) }, signal.False, signal.False, run.Stop, signatureKey, "is not the signature"},
		"key away":         {func(_ *testing.T, _ *backuptest.Store, e *backup.Expectation) { e.Key = away{e.Key.(backup.Signer)} }, signal.Unknown, signal.Unknown, run.Stop, signatureKey, "no route to the key"},
		"no key":           {func(_ *testing.T, _ *backuptest.Store, e *backup.Expectation) { e.Key = nil }, signal.Unknown, signal.True, run.Warning, signatureKey, "not believed"},
		"no key, required": {func(_ *testing.T, _ *backuptest.Store, e *backup.Expectation) { e.Key, e.ManifestRequired = nil, true }, signal.Unknown, signal.Unknown, run.Stop, signatureKey, "no key"},
		"required, missing": {func(_ *testing.T, s *backuptest.Store, e *backup.Expectation) {
			e.ManifestRequired = true
			s.Delete(manifestKey)
			s.Delete(signatureKey)
		}, signal.Unknown, signal.False, run.Stop, manifestKey, "the plan requires it"},
		"an object more": {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) {
			s.Set(backuptest.Key("b1", "-csi-volumesnapshots.json.gz"), backuptest.Gzip([]byte("[]")))
		}, signal.False, signal.False, run.Stop, backuptest.Key("b1", "-csi-volumesnapshots.json.gz"), "not in the signed manifest"},
		"a stranger": {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) {
			s.Set("backups/b1/notes.txt", []byte("x"))
		}, signal.True, signal.True, run.Warning, "backups/b1/notes.txt", "none of the objects of a backup"},
		"written again": {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) { s.Set(logs, s.Get(logs)) }, signal.True, signal.True, run.Note, logs, "with the same bytes"},
		"other bytes of the same form": {func(_ *testing.T, s *backuptest.Store, _ *backup.Expectation) {
			s.Set(logs, backuptest.Gzip([]byte("nothing was ever logged\n")))
		}, signal.False, signal.False, run.Stop, logs, "the signed manifest says"},
		"another backup's": {edit(func(d map[string]any) {
			d["backup"] = "b2"
			for _, o := range d["objects"].([]any) {
				o := o.(map[string]any)
				o["key"] = strings.ReplaceAll(o["key"].(string), "b1", "b2")
			}
		}), signal.False, signal.False, run.Stop, manifestKey, `is of the backup "b2"`},
		"another cluster's": {edit(func(d map[string]any) { d["clusterUID"] = "other" }), signal.True, signal.False, run.Stop, backuptest.Key("b1", metadataJSON), "the signed manifest says other"},
		"signed nonsense":   {edit(func(d map[string]any) { d["objects"] = []any{} }), signal.False, signal.False, run.Stop, manifestKey, "names 0 objects"},
		"names one more": {edit(func(d map[string]any) {
			o := map[string]any{"key": "backups/b1/b1-csi-volumesnapshots.json.gz", "size": 1, "sha256": strings.Repeat("0", 64)}
			d["objects"] = append(d["objects"].([]any), o)
		}), signal.False, signal.False, run.Stop, backuptest.Key("b1", "-csi-volumesnapshots.json.gz"), "is missing; the signed manifest names it"},
	} {
		t.Run(name, func(t *testing.T) {
			s, exp := sealed(t, backuptest.Spec{})
			c.do(t, s, &exp)
			v, err := backup.Verify(t.Context(), s, "b1", exp)
			if err != nil {
				t.Fatal(err)
			}
			if v.Integrity != c.integrity || v.Status != c.status {
				t.Errorf("integrity %s, status %s, expected %s and %s: %+v", v.Integrity, v.Status, c.integrity, c.status, v.Findings)
			}
			if !slices.ContainsFunc(v.Findings, func(f run.Finding) bool {
				return f.Severity == c.severity && f.Subject == c.subject && strings.Contains(f.Problem, c.problem) && f.Means != ""
			}) {
				t.Errorf("%s %s %q is not among %+v", c.severity, c.subject, c.problem, v.Findings)
			}
		})
	}
}

// TestManifestNamesTheCluster: where the backup does not say which cluster it is of, the signed manifest does.
func TestManifestNamesTheCluster(t *testing.T) {
	s, key := backuptest.NewStore(backuptest.Spec{ClusterUID: "-"}), signer(t)
	if _, err := backup.Seal(t.Context(), s, "b1", backuptest.Cluster, expectation(), key); err != nil {
		t.Fatal(err)
	}
	exp := expectation()
	exp.Key = key
	v, err := backup.Verify(t.Context(), s, "b1", exp)
	if err != nil || v.Status != signal.True || v.ClusterUID != backuptest.Cluster || len(v.Findings) > 0 {
		t.Errorf("%+v %v", v, err)
	}
	exp.ClusterUID = "other"
	if v, err := backup.Verify(t.Context(), s, "b1", exp); err != nil || v.Reason != backup.ReasonOtherCluster {
		t.Errorf("%+v %v", v, err)
	}
}
