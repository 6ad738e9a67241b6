package backup_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/signal"
)

// hourly are n backups, b01 the newest, an hour old and so on.
func hourly(n int, edit func(i int, s *backuptest.Spec)) *backuptest.Store {
	s := backuptest.NewStore()
	for i := 1; i <= n; i++ {
		spec := backuptest.Spec{Name: fmt.Sprintf("b%02d", i), Started: backuptest.Now().Add(-time.Duration(i) * time.Hour)}
		if edit != nil {
			edit(i, &spec)
		}
		s.Add(spec)
	}
	return s
}

func TestList(t *testing.T) {
	s := hourly(5, func(i int, spec *backuptest.Spec) {
		if i == 2 {
			spec.Schedule = "nightly"
		}
	})
	s.Truncate(backuptest.Key("b03", metadataJSON))
	s.Delete(backuptest.Key("b04", metadataJSON))
	s.Set("backups/stray", []byte("x"))
	s.Set("restores/r1/restore-r1-logs.gz", []byte("x"))
	l, findings, err := backup.List(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range l {
		names = append(names, b.Name)
		if b.Bytes == 0 || b.Phase != "Completed" || b.KubernetesVersion != "v1.36.3" || b.ClusterUID != backuptest.Cluster {
			t.Errorf("%+v", b)
		}
	}
	if !slices.Equal(names, []string{"b01", "b02", "b05"}) || l[1].Schedule != "nightly" || l[0].Schedule != "" {
		t.Errorf("%v %+v", names, l)
	}
	var subjects []string
	for _, f := range findings {
		subjects = append(subjects, f.Subject)
	}
	slices.Sort(subjects)
	if !slices.Equal(subjects, []string{backuptest.Key("b03", metadataJSON), backuptest.Key("b04", metadataJSON)}) {
		t.Errorf("%+v", findings)
	}
	gone := errors.New("gone")
	s.FailList(gone)
	if _, _, err := backup.List(t.Context(), s); !errors.Is(err, gone) {
		t.Error(err)
	}
}

func TestChoose(t *testing.T) {
	broken := func(s *backuptest.Store, names ...string) *backuptest.Store {
		for _, n := range names {
			s.Truncate(backuptest.Key(n, tarball))
		}
		return s
	}
	for name, c := range map[string]struct {
		store    *backuptest.Store
		at       plan.RestorePoint
		schedule string
		maxAge   time.Duration
		want     string
		how      string
		status   signal.Status
		passed   []string // each is the beginning of a line
		count    int      // of the backups passed over, where it is not that of the lines
	}{
		"the latest":               {store: hourly(3, nil), want: "b01", how: "latest", status: signal.True},
		"the latest that verifies": {store: broken(hourly(4, nil), "b01", "b02"), want: "b03", how: "latest", status: signal.True, passed: []string{"b01: backups/b01/b01.tar.gz", "b02: "}},
		"the newest cannot be read": {store: func() *backuptest.Store {
			s := hourly(2, nil)
			s.Truncate(backuptest.Key("b01", metadataJSON))
			return s
		}(), want: "b02", how: "latest", status: signal.True, passed: []string{"b01: backups/b01/velero-backup.json"}},
		"none of the five newest":      {store: broken(hourly(7, nil), "b01", "b02", "b03", "b04", "b05"), want: "b01", how: "latest", status: signal.False, passed: []string{"b02: ", "b03: ", "b04: ", "b05: ", "2 older ones"}},
		"named":                        {store: hourly(3, nil), at: plan.RestorePoint{Backup: "b03"}, want: "b03", how: "named", status: signal.True},
		"named, broken":                {store: broken(hourly(3, nil), "b03"), at: plan.RestorePoint{Backup: "b03"}, want: "b03", how: "named", status: signal.False},
		"named, too old":               {store: hourly(3, nil), at: plan.RestorePoint{Backup: "b03"}, maxAge: 2 * time.Hour, want: "b03", how: "named", status: signal.False},
		"named, another's":             {store: hourly(3, nil), at: plan.RestorePoint{Backup: "b99"}, want: "b99", how: "named", status: signal.False},
		"of a schedule":                {store: hourly(4, func(i int, s *backuptest.Spec) { s.Schedule = []string{"", "nightly"}[(i+1)%2] }), schedule: "nightly", want: "b02", how: "latest", status: signal.True},
		"that includes the namespace":  {store: hourly(4, func(i int, s *backuptest.Spec) { s.Included = [][]string{{"bank"}, {"*"}}[min(i/3, 1)] }), want: "b03", how: "latest", status: signal.True},
		"that does not exclude it":     {store: hourly(2, func(i int, s *backuptest.Spec) { s.Excluded = [][]string{{"shop"}, nil}[i-1] }), want: "b02", how: "latest", status: signal.True},
		"random":                       {store: hourly(1, nil), at: plan.RestorePoint{RandomWithin: plan.Duration(24 * time.Hour)}, want: "b01", how: "random", status: signal.True},
		"random, none in the window":   {store: hourly(3, nil), at: plan.RestorePoint{RandomWithin: plan.Duration(time.Minute)}, how: "random", status: signal.False},
		"random, only completed":       {store: hourly(3, func(i int, s *backuptest.Spec) { s.Phase = []string{"Failed", "PartiallyFailed", "Completed"}[i-1] }), at: plan.RestorePoint{RandomWithin: plan.Duration(24 * time.Hour)}, want: "b03", how: "random", status: signal.True},
		"none of the schedule":         {store: hourly(3, nil), schedule: "nightly", how: "latest", status: signal.False},
		"nothing at all":               {store: backuptest.NewStore(), how: "latest", status: signal.False},
		"too old, the latest as it is": {store: hourly(2, nil), maxAge: time.Minute, want: "b01", how: "latest", status: signal.False, passed: []string{"1 older one was not tried"}},
		"five nights that are not Completed": {store: hourly(7, func(i int, s *backuptest.Spec) {
			s.Phase = []string{"PartiallyFailed", "Failed", "InProgress", "PartiallyFailed", "FinalizingPartiallyFailed", "", ""}[i-1]
		}), want: "b06", how: "latest", status: signal.True, passed: []string{`b01: backups/b01/velero-backup.json is in phase "PartiallyFailed", expected Completed`, `b02: backups/b02/velero-backup.json is in phase "Failed"`, `b03: backups/b03/velero-backup.json is in phase "InProgress"`, "b04: ", "b05: "}},
		"and the tries are for the others": {store: broken(hourly(10, func(i int, s *backuptest.Spec) {
			if i%2 == 1 {
				s.Phase = "PartiallyFailed"
			}
		}), "b02", "b04", "b06", "b08"), want: "b10", how: "latest", status: signal.True, passed: []string{"b01: ", "b02: backups/b02/b02.tar.gz", "b03: ", "b04: ", "b05: ", "b06: ", "b07: ", "b08: ", "b09: "}},
		"many that are not Completed are counted": {store: hourly(23, func(i int, s *backuptest.Spec) { s.Phase = []string{"PartiallyFailed", "Failed", ""}[i/21+i/23] }), want: "b23", how: "latest", status: signal.True,
			passed: []string{"b01: ", "b02: ", "b03: ", "b04: ", "b05: ", `and 17 more that are not Completed: in all 2 "Failed", 20 "PartiallyFailed"`}, count: 22},
		"none is Completed: the newest as it is": {store: hourly(2, func(_ int, s *backuptest.Spec) { s.Phase = "PartiallyFailed" }), want: "b01", how: "latest", status: signal.False, passed: []string{"b02: "}},
		"the first that is too old ends it":      {store: broken(hourly(6, nil), "b01", "b02"), maxAge: 150 * time.Minute, want: "b01", how: "latest", status: signal.False, passed: []string{"b02: ", "b03: backups/b03/velero-backup.json was taken 3h0m0s ago, expected at most 2h30m0s", "3 older ones were not tried"}},
		"partially failed, passed over":          {store: hourly(2, func(i int, s *backuptest.Spec) { s.Phase = []string{"PartiallyFailed", "Completed"}[i-1] }), want: "b02", how: "latest", status: signal.True, passed: []string{`b01: backups/b01/velero-backup.json is in phase "PartiallyFailed"`}},
	} {
		t.Run(name, func(t *testing.T) {
			exp := expectation()
			if c.maxAge > 0 {
				exp.MaxAge = c.maxAge
			}
			got, err := backup.Choose(t.Context(), c.store, c.at, c.schedule, "shop-drill-1", exp)
			if err != nil {
				t.Fatal(err)
			}
			if got.Name != c.want || got.How != c.how || got.Status != c.status {
				t.Errorf("%s %s %s (%s)", got.Name, got.How, got.Status, got.Message)
			}
			if c.status != signal.True && (len(got.Findings) == 0 || got.Message == "" || got.Reason == "") {
				t.Errorf("not said why: %+v", got)
			}
			count := c.count
			for _, p := range c.passed {
				if c.count == 0 && strings.HasPrefix(p, "b") {
					count++
				}
			}
			if got.PassedCount != count {
				t.Errorf("%d passed over, expected %d: %q", got.PassedCount, count, got.Passed)
			}
			if len(got.Passed) != len(c.passed) {
				t.Fatalf("passed %q, expected %q", got.Passed, c.passed)
			}
			for i, p := range c.passed {
				if !strings.HasPrefix(got.Passed[i], p) {
					t.Errorf("passed %q, expected %q", got.Passed[i], p)
				}
			}
		})
	}
}

// TestChooseRandom: the same run and list give the same backup, and over many runs each is drawn about as often.
func TestChooseRandom(t *testing.T) {
	s, exp := hourly(8, nil), expectation()
	at := plan.RestorePoint{RandomWithin: plan.Duration(8*time.Hour + time.Minute)}
	const runs = 400
	drawn := map[string]int{}
	for i := range runs {
		id := fmt.Sprintf("shop-drill-%d", i)
		c, err := backup.Choose(t.Context(), s, at, "", id, exp)
		if err != nil || c.Status != signal.True {
			t.Fatalf("%+v %v", c, err)
		}
		drawn[c.Name]++
		if i < 5 {
			again, err := backup.Choose(t.Context(), s, at, "", id, exp)
			if err != nil || again.Name != c.Name {
				t.Errorf("%s first, then %s (%v)", c.Name, again.Name, err)
			}
		}
	}
	if len(drawn) != 8 {
		t.Fatalf("%v", drawn)
	}
	// Chi-squared with 7 degrees of freedom: 24.3 is passed once in a thousand; the IDs are fixed, so that this never varies.
	x := 0.0
	for _, n := range drawn {
		d := float64(n) - runs/8
		x += d * d / (runs / 8)
	}
	if x > 24.3 {
		t.Errorf("not uniform (%.1f): %v", x, drawn)
	}
}

// TestChooseRandomPassesOver: what was drawn and does not verify is named, and another one is drawn.
func TestChooseRandomPassesOver(t *testing.T) {
	s, at := hourly(4, nil), plan.RestorePoint{RandomWithin: plan.Duration(24 * time.Hour)}
	first, err := backup.Choose(t.Context(), s, at, "", "run-1", expectation())
	if err != nil {
		t.Fatal(err)
	}
	s.Truncate(backuptest.Key(first.Name, tarball))
	second, err := backup.Choose(t.Context(), s, at, "", "run-1", expectation())
	if err != nil || second.Status != signal.True || second.Name == first.Name || len(second.Passed) != 1 || !strings.HasPrefix(second.Passed[0], first.Name) {
		t.Errorf("%+v %v", second, err)
	}
}

func TestChooseWithoutStore(t *testing.T) {
	s, away := backuptest.NewStore(), errors.New("no route")
	s.FailList(away)
	for _, at := range []plan.RestorePoint{{}, {Backup: "b1"}} {
		c, err := backup.Choose(t.Context(), s, at, "", "run-1", expectation())
		if !errors.Is(err, away) || c.Status != signal.Unknown || len(c.Findings) == 0 {
			t.Errorf("%+v %v", c, err)
		}
	}
}
