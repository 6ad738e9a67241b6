package seal_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/functions/seal"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

const name = "shop-20261120020000"

// scene is a place of backups, a key, a clock, and what Velero does meanwhile.
type scene struct {
	*testing.T
	*backuptest.Store
	signer
	now time.Time
	at  map[string]time.Time
	// slept are the pauses; after each one meanwhile is called.
	slept     []time.Duration
	meanwhile func(n int) error
	log       bytes.Buffer
}

// signer is a key that may fail.
type signer struct {
	backup.Signer
	err error
}

func (s *signer) Sign(ctx context.Context, data []byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Signer.Sign(ctx, data)
}

func newScene(t *testing.T, spec backuptest.Spec) *scene {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := backup.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	spec.Name = name
	s := &scene{T: t, Store: backuptest.NewStore(spec), signer: signer{Signer: key}, now: backuptest.Now(), at: map[string]time.Time{}}
	s.written(s.now.Add(-3*time.Second), s.now.Add(-2*time.Second))
	return s
}

// written says when velero-backup.json and the tarball were.
func (s *scene) written(metadata, tarball time.Time) {
	s.at[backuptest.Key(name, "velero-backup.json")], s.at[backuptest.Key(name, ".tar.gz")] = metadata, tarball
}

// List gives the objects their times.
func (s *scene) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	out, err := s.Store.List(ctx, prefix)
	for i, o := range out {
		if t, ok := s.at[o.Key]; ok {
			out[i].Modified = t
		}
	}
	return out, err
}

func (s *scene) event() []byte {
	b, err := os.ReadFile(filepath.Join("..", "..", "events", "testdata", "backup-written.json"))
	if err != nil {
		s.Fatal(err)
	}
	return b
}

func (s *scene) handle(payload []byte) (seal.Result, error) {
	s.Helper()
	s.log.Reset()
	h := &seal.Handler{Bucket: "velero-eu", Prefix: "eu/main", Store: s, Key: &s.signer, Now: func() time.Time { return s.now }, Log: slog.New(slog.NewJSONHandler(&s.log, nil)),
		Sleep: func(ctx context.Context, d time.Duration) error {
			s.slept, s.now = append(s.slept, d), s.now.Add(d)
			if s.meanwhile != nil {
				return s.meanwhile(len(s.slept))
			}
			return ctx.Err()
		}}
	return h.Handle(s.Context(), payload)
}

// said is the one line of the log.
func (s *scene) said() (line struct{ Level, Msg, Action, Backup, Phase, Error string }) {
	s.Helper()
	if err := json.Unmarshal(s.log.Bytes(), &line); err != nil || line.Msg != "seal" {
		s.Errorf("%v: %s", err, s.log.String())
	}
	return line
}

func (s *scene) manifest() string {
	return string(s.Get("backups/"+name+"/"+backup.ManifestFile)) + string(s.Get("backups/"+name+"/"+backup.SignatureFile))
}

func (s *scene) integrity() signal.Status {
	s.Helper()
	v, err := backup.Verify(s.Context(), s.Store, name, backup.Expectation{Now: s.now, Key: s.Signer, ManifestRequired: true})
	if err != nil {
		s.Fatal(err)
	}
	return v.Integrity
}

// TestSeals: the first event of a completed backup seals it, the second changes nothing, and a later change is found and named.
func TestSeals(t *testing.T) {
	s := newScene(t, backuptest.Spec{})
	res, err := s.handle(s.event())
	if err != nil || res.Action != seal.Sealed || res.Backup != name || res.Objects == 0 || res.Bytes == 0 || res.Listing == "" || len(s.slept) > 0 {
		t.Fatalf("%+v, %v after %v", res, err, s.slept)
	}
	if l := s.said(); l.Level != "INFO" || l.Action != "Sealed" || l.Backup != name || l.Phase != "Completed" {
		t.Errorf("%+v", l)
	}
	first := s.manifest()
	m, err := backup.ParseManifest(s.Get("backups/" + name + "/" + backup.ManifestFile))
	if err != nil || m.ClusterUID != backuptest.Cluster || !m.SealedAt.Equal(s.now) || len(m.Objects) != 9 || m.Objects[0].Version == "" || s.integrity() != signal.True {
		t.Errorf("%+v, %v, integrity %s", m, err, s.integrity())
	}

	s.now = s.now.Add(time.Minute)
	again, err := s.handle(s.event())
	if err != nil || again.Action != seal.AlreadySealed || again.Listing != res.Listing || s.manifest() != first {
		t.Errorf("%+v, %v", again, err)
	}

	s.Flip(backuptest.Key(name, ".tar.gz"), -20)
	res, err = s.handle(s.event())
	if err != nil || res.Action != seal.NotVerified || len(res.Stops) == 0 || !strings.Contains(strings.Join(res.Stops, " "), name+".tar.gz") || s.manifest() != first {
		t.Errorf("%+v, %v", res, err)
	}
	if l := s.said(); l.Level != "ERROR" || l.Action != "NotVerified" {
		t.Errorf("%+v", l)
	}
}

// TestLeavesAlone: what is not sealed, and why.
func TestLeavesAlone(t *testing.T) {
	for what, c := range map[string]struct {
		spec   backuptest.Spec
		change func(*scene)
		want   seal.Action
		level  string
		says   string
	}{
		"objects are being collected":  {backuptest.Spec{Phase: "InProgress"}, nil, seal.NotCompleted, "INFO", `"InProgress"`},
		"operations go on":             {backuptest.Spec{Phase: "WaitingForPluginOperations"}, nil, seal.NotCompleted, "INFO", "Waiting"},
		"finalizing":                   {backuptest.Spec{Phase: "Finalizing"}, nil, seal.NotCompleted, "INFO", "Finalizing"},
		"finalizing what failed":       {backuptest.Spec{Phase: "FinalizingPartiallyFailed"}, nil, seal.NotCompleted, "INFO", "Finalizing"},
		"partially failed":             {backuptest.Spec{Phase: "PartiallyFailed"}, nil, seal.NotSealed, "ERROR", "PartiallyFailed"},
		"failed":                       {backuptest.Spec{Phase: "Failed"}, nil, seal.NotSealed, "ERROR", "Failed"},
		"being deleted":                {backuptest.Spec{Phase: "Deleting"}, nil, seal.NotSealed, "ERROR", "Deleting"},
		"deleted":                      {backuptest.Spec{}, func(s *scene) { s.Delete(backuptest.Key(name, "velero-backup.json")) }, seal.Gone, "INFO", "velero-backup.json"},
		"completed without its logs":   {backuptest.Spec{}, func(s *scene) { s.Delete(backuptest.Key(name, "-logs.gz")) }, seal.NotVerified, "ERROR", "ObjectMissing"},
		"completed with half a volume": {backuptest.Spec{}, func(s *scene) { s.Truncate(backuptest.Key(name, "-volumeinfo.json.gz")) }, seal.NotVerified, "ERROR", "Object"},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t, c.spec)
			if c.change != nil {
				c.change(s)
			}
			before := s.Keys()
			res, err := s.handle(s.event())
			if err != nil || res.Action != c.want || !strings.Contains(res.Reason, c.says) || !slices.Equal(s.Keys(), before) || len(s.slept) > 0 {
				t.Errorf("%+v, %v after %v", res, err, s.slept)
			}
			if l := s.said(); l.Level != c.level || l.Action != string(c.want) {
				t.Errorf("%+v", l)
			}
		})
	}
}

// TestEvents: an event that is none of velero-backup.json does nothing, and one that cannot be read is said to be.
func TestEvents(t *testing.T) {
	s := newScene(t, backuptest.Spec{})
	for from, to := range map[string]string{"eu/main/backups/": "eu/backups/", `"velero-eu"`: `"velero-us"`, "Object Created": "Object Deleted", "velero-backup.json": name + ".tar.gz"} {
		res, err := s.handle(bytes.ReplaceAll(s.event(), []byte(from), []byte(to)))
		if err != nil || res.Action != seal.Ignored || res.Reason == "" || s.manifest() != "" {
			t.Errorf("%s: %+v, %v", to, res, err)
		}
	}
	if _, err := s.handle([]byte(`{"source":"aws.s3","detail-type":"Object Created"}`)); fault.From(err).Code != fault.InputInvalid || s.said().Level != "ERROR" {
		t.Errorf("%v, %s", err, s.log.String())
	}
}

// TestWaitsForTheTarball: Velero says Completed, and then writes the tarball once more. What is sealed is what it wrote last.
func TestWaitsForTheTarball(t *testing.T) {
	s := newScene(t, backuptest.Spec{})
	s.written(s.now.Add(-time.Second), s.now.Add(-20*time.Second))
	tarball, final := backuptest.Key(name, ".tar.gz"), backuptest.Spec{Name: name, ConfigMaps: 1, Change: map[string]func([]byte) []byte{}}
	s.meanwhile = func(n int) error {
		if s.manifest() != "" {
			t.Error("sealed too early")
		}
		if n == 3 {
			files := final.Files()
			for _, key := range []string{tarball, backuptest.Key(name, "-resource-list.json.gz"), backuptest.Key(name, "velero-backup.json")} {
				s.Set(key, files[key])
			}
			s.written(s.now.Add(-time.Second), s.now)
		}
		return nil
	}
	res, err := s.handle(s.event())
	if err != nil || res.Action != seal.Sealed || !slices.Equal(s.slept, []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}) || s.integrity() != signal.True {
		t.Errorf("%+v, %v after %v, integrity %s", res, err, s.slept, s.integrity())
	}
}

// TestDoesNotWaitForEver: what Velero never writes is an error that is delivered again; so is a wait that is cut off.
func TestDoesNotWaitForEver(t *testing.T) {
	s := newScene(t, backuptest.Spec{})
	s.written(s.now, s.now.Add(-20*time.Second))
	began := s.now
	_, err := s.handle(s.event())
	if fault.From(err).Code != fault.Unavailable || s.now.Sub(began) > 5*time.Minute || s.now.Sub(began) < 4*time.Minute || s.manifest() != "" {
		t.Errorf("%v after %s", err, s.now.Sub(began))
	}
	if l := s.said(); l.Level != "ERROR" || l.Error == "" || l.Backup != name {
		t.Errorf("%+v", l)
	}
	s.meanwhile = func(int) error { return context.DeadlineExceeded }
	if _, err := s.handle(s.event()); fault.From(err).Code != fault.Unavailable || s.manifest() != "" {
		t.Error(err)
	}
}

// TestErrorsComeBack: what may go away is an error, with its code; nothing half-done is in the way of the next delivery.
func TestErrorsComeBack(t *testing.T) {
	metadata, tarball := backuptest.Key(name, "velero-backup.json"), backuptest.Key(name, ".tar.gz")
	for what, c := range map[string]struct {
		breaks, mends func(*scene)
		code          fault.Code
	}{
		"the listing":        {func(s *scene) { s.FailList(errors.New("no route")) }, func(s *scene) { s.FailList(nil) }, fault.Unavailable},
		"metadata refused":   {func(s *scene) { s.Fault(metadata, backuptest.Refused) }, func(s *scene) { s.Fault(metadata, backuptest.Fine) }, fault.PermissionDenied},
		"the tarball":        {func(s *scene) { s.Fault(tarball, backuptest.Broken) }, func(s *scene) { s.Fault(tarball, backuptest.Fine) }, fault.Unavailable},
		"the key":            {func(s *scene) { s.err = errors.New("no route") }, func(s *scene) { s.err = nil }, fault.Unavailable},
		"another's manifest": {func(s *scene) { s.Set("backups/"+name+"/"+backup.ManifestFile, []byte("{}")) }, func(s *scene) { s.Delete("backups/" + name + "/" + backup.ManifestFile) }, fault.Conflict},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t, backuptest.Spec{})
			c.breaks(s)
			if res, err := s.handle(s.event()); err == nil || fault.From(err).Code != c.code || res.Action != "" {
				t.Fatalf("%+v, %v: expected %s", res, err, c.code)
			}
			c.mends(s)
			if res, err := s.handle(s.event()); err != nil || res.Action != seal.Sealed || s.integrity() != signal.True {
				t.Errorf("%+v, %v, integrity %s", res, err, s.integrity())
			}
		})
	}
}

// TestResultIsSmall: as many and as long findings as there may be, and the answer still travels.
func TestResultIsSmall(t *testing.T) {
	long := strings.Repeat("x", 50<<10)
	s := newScene(t, backuptest.Spec{Change: map[string]func([]byte) []byte{"-itemoperations.json.gz": func([]byte) []byte {
		var out []map[string]any
		for range 40 {
			out = append(out, map[string]any{"spec": map[string]any{"operationID": "op"}, "status": map[string]any{"phase": "Failed", "error": long}})
		}
		b, _ := json.Marshal(out)
		return b
	}}})
	res, err := s.handle(s.event())
	b, _ := json.Marshal(res)
	if err != nil || res.Action != seal.NotVerified || len(b) > run.SectionLimit {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
