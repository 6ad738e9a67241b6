package backup_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
)

// timed gives objects the times that a store says they are of.
type timed struct {
	*backuptest.Store
	at map[string]time.Time
}

func (s timed) List(ctx context.Context, prefix string) ([]backup.Object, error) {
	out, err := s.Store.List(ctx, prefix)
	for i, o := range out {
		if t, ok := s.at[o.Key]; ok {
			out[i].Modified = t
		}
	}
	return out, err
}

func TestLook(t *testing.T) {
	at := backuptest.Now()
	metadata, tarball := backuptest.Key("b1", "velero-backup.json"), backuptest.Key("b1", ".tar.gz")
	none := map[string]func([]byte) []byte{"-itemoperations.json.gz": func([]byte) []byte { return []byte("[]") }}
	for name, c := range map[string]struct {
		spec backuptest.Spec
		// tarball is how much later than velero-backup.json it was written, ago how long ago that was.
		tarball, ago time.Duration
		want         backup.Stage
	}{
		"written again":                             {backuptest.Spec{}, 2 * time.Second, 3 * time.Second, backup.StageCompleted},
		"not written again yet":                     {backuptest.Spec{}, -20 * time.Second, 3 * time.Second, backup.StageRewriting},
		"not written again yet, a large one":        {backuptest.Spec{}, -20 * time.Second, 10 * time.Minute, backup.StageRewriting},
		"never written again":                       {backuptest.Spec{}, -20 * time.Second, time.Hour, backup.StageCompleted},
		"in the same second, just now":              {backuptest.Spec{}, 900 * time.Millisecond, 3 * time.Second, backup.StageRewriting},
		"in the same second, before":                {backuptest.Spec{}, 900 * time.Millisecond, 15 * time.Second, backup.StageCompleted},
		"without operations":                        {backuptest.Spec{Change: none}, -20 * time.Second, 0, backup.StageCompleted},
		"without operations, the clock goes behind": {backuptest.Spec{Change: none}, -20 * time.Second, -time.Minute, backup.StageCompleted},
		"Finalizing":                                {backuptest.Spec{Phase: "Finalizing"}, 0, time.Minute, backup.StageRunning},
		"WaitingForPluginOperations":                {backuptest.Spec{Phase: "WaitingForPluginOperations"}, 0, time.Minute, backup.StageRunning},
		"FinalizingPartiallyFailed":                 {backuptest.Spec{Phase: "FinalizingPartiallyFailed"}, 0, time.Minute, backup.StageRunning},
		"a phase that nobody knows":                 {backuptest.Spec{Phase: "Polishing"}, 0, time.Minute, backup.StageRunning},
		"PartiallyFailed":                           {backuptest.Spec{Phase: "PartiallyFailed"}, -20 * time.Second, 0, backup.StageEnded},
		"Failed":                                    {backuptest.Spec{Phase: "Failed"}, 0, 0, backup.StageEnded},
	} {
		t.Run(name, func(t *testing.T) {
			s := timed{backuptest.NewStore(c.spec), map[string]time.Time{metadata: at, tarball: at.Add(c.tarball)}}
			p, err := backup.Look(t.Context(), s, "b1", at.Add(c.ago))
			if err != nil || p.Stage != c.want || p.Name != "b1" || p.Phase == "" || p.Signed || p.Sealed {
				t.Errorf("%+v, %v: expected %s", p, err, c.want)
			}
			if s.Opened(tarball) > 0 {
				t.Error("it read the tarball")
			}
		})
	}
}

func TestLookAtWhatCannotBeRead(t *testing.T) {
	metadata, operations := backuptest.Key("b1", "velero-backup.json"), backuptest.Key("b1", "-itemoperations.json.gz")
	at := backuptest.Now()
	for name, c := range map[string]struct {
		change func(*backuptest.Store)
		is     error
		says   string
	}{
		"no backup":           {func(s *backuptest.Store) { s.Delete(metadata) }, fs.ErrNotExist, "velero-backup.json"},
		"refused":             {func(s *backuptest.Store) { s.Fault(metadata, backuptest.Refused) }, fs.ErrPermission, "403"},
		"broken off":          {func(s *backuptest.Store) { s.Fault(metadata, backuptest.Broken) }, nil, "connection reset"},
		"no JSON":             {func(s *backuptest.Store) { s.Set(metadata, []byte("{")) }, nil, "velero-backup.json is not valid JSON"},
		"operations refused":  {func(s *backuptest.Store) { s.Fault(operations, backuptest.Refused) }, fs.ErrPermission, "403"},
		"operations broken":   {func(s *backuptest.Store) { s.Flip(operations, -5) }, nil, "-itemoperations.json.gz"},
		"not listed":          {func(s *backuptest.Store) { s.FailList(errors.New("no route")) }, nil, "no route"},
		"operations are gone": {func(s *backuptest.Store) { s.Fault(operations, backuptest.Gone) }, fs.ErrNotExist, "itemoperations"},
	} {
		t.Run(name, func(t *testing.T) {
			s := backuptest.NewStore(backuptest.Spec{})
			c.change(s)
			_, err := backup.Look(t.Context(), timed{s, map[string]time.Time{metadata: at}}, "b1", at)
			if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v: expected it to say %q", err, c.says)
			}
		})
	}
	if _, err := backup.Look(t.Context(), backuptest.NewStore(), "../b1", at); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestUnsealed(t *testing.T) {
	now := backuptest.Now()
	add := func(name, schedule, namespace, phase string, ago time.Duration) backuptest.Spec {
		return backuptest.Spec{Name: name, Schedule: schedule, Namespace: namespace, Phase: phase, Started: now.Add(-ago)}
	}
	s := backuptest.NewStore(add("new", "hourly", "shop", "", time.Hour), add("sealed", "hourly", "shop", "", 2*time.Hour), add("cut", "hourly", "shop", "", 3*time.Hour),
		add("failed", "hourly", "shop", "PartiallyFailed", 4*time.Hour), add("daily", "daily", "shop", "", 5*time.Hour), add("other", "hourly", "ledger", "", 6*time.Hour),
		add("broken", "hourly", "shop", "", 7*time.Hour))
	s.Set(backuptest.Key("broken", "velero-backup.json"), []byte("{"))
	for _, name := range []string{"sealed", "cut"} {
		if _, err := backup.Seal(t.Context(), s, name, "", backup.Expectation{Now: now}, signer(t)); err != nil {
			t.Fatal(err)
		}
	}
	s.Delete("backups/cut/" + backup.SignatureFile)
	for _, c := range []struct {
		schedule, namespace string
		want                []string
	}{
		{"hourly", "shop", []string{"new Completed", "cut Completed", "failed Ended"}},
		{"", "shop", []string{"new Completed", "cut Completed", "failed Ended", "daily Completed"}},
		{"", "", []string{"new Completed", "cut Completed", "failed Ended", "daily Completed", "other Completed"}},
		{"weekly", "", nil},
	} {
		list, findings, err := backup.Unsealed(t.Context(), s, c.schedule, c.namespace, now)
		var got []string
		for _, p := range list {
			got = append(got, p.Name+" "+string(p.Stage))
		}
		if err != nil || !slices.Equal(got, c.want) || len(findings) != 1 || !strings.Contains(findings[0].Subject, "broken") {
			t.Errorf("%q %q: %v, %v, %v: expected %v", c.schedule, c.namespace, got, findings, err, c.want)
		}
	}
	s.FailList(errors.New("no route"))
	if _, _, err := backup.Unsealed(t.Context(), s, "", "", now); err == nil {
		t.Error("a place that cannot be listed is an error")
	}
}
