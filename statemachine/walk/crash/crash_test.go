package crash_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
	"fallbackchain.io/fallback/statemachine/walk/crash"
	"fallbackchain.io/fallback/statemachine/walk/scenario"
)

// finish is a janitor in small: it works from the journal, the lease and the run's last state, and never from a section that
// the dead step did not write.
func finish(w *crash.World, s crash.Stopped) (run.Outcome, error) {
	var r run.Run
	if err := json.Unmarshal(s.State, &r); err != nil {
		return "", err
	}
	outcome := run.Aborted
	switch {
	case r.Outcome != nil && (r.Outcome.Name == run.Recovered || r.Outcome.Name == run.Evaluated || r.Outcome.Name == run.Dirty):
		outcome = r.Outcome.Name
	case len(w.Journal) > 0 && w.Undo():
		outcome = run.RolledBack
	case len(w.Journal) > 0:
		outcome = run.Dirty
	}
	if outcome != run.Dirty {
		w.Lease = false
	}
	w.Reports++
	return outcome, nil
}

// sound says what an outcome does not allow to be left.
func sound(o run.Outcome, w *crash.World) error {
	switch {
	case !slices.Contains(run.Outcomes, o):
		return fmt.Errorf("%q is no outcome", o)
	case w.Lease && o != run.Dirty:
		return fmt.Errorf("%s keeps the lease", o)
	case (o == run.Aborted || o == run.RolledBack) && len(w.Objects) > 0:
		return fmt.Errorf("%s leaves %v", o, w.Objects)
	case len(w.Objects) > len(w.Journal):
		return fmt.Errorf("objects %v are not all in the journal %v", w.Objects, w.Journal)
	case w.Reports == 0:
		return fmt.Errorf("%s has no report", o)
	}
	return nil
}

func options(w *crash.World) walk.Options {
	now := scenario.Start()
	return walk.Options{Graph: chain.Fallback(), Handlers: w.Handlers(), Now: func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil }}
}

// each calls f for every scenario killed at every moment of every changing state it visits: once for each way of getting there,
// or, when what would have followed matters, for each whole path.
func each(t *testing.T, whole bool, f func(t *testing.T, s scenario.Scenario, p crash.Point)) {
	t.Helper()
	scenarios, err := scenario.Generate(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	points, err := crash.Points(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	done := map[string]bool{}
	reached := map[crash.Point]bool{}
	for _, s := range scenarios {
		for _, p := range points {
			at := slices.Index(s.Path, p.State)
			if at < 0 {
				continue
			}
			way := s.Path
			if !whole {
				way = s.Path[:at+1]
			}
			key := fmt.Sprint(s.Mode, p, strings.Join(way, " "))
			if done[key] {
				continue
			}
			done[key], reached[p] = true, true
			t.Run(p.String()+" in "+s.Name, func(t *testing.T) { f(t, s, p) })
		}
	}
	for _, p := range points {
		if !reached[p] {
			t.Errorf("no scenario is %s", p)
		}
	}
}

func kill(t *testing.T, s scenario.Scenario, p crash.Point) (*crash.World, crash.Stopped) {
	t.Helper()
	w, err := crash.NewWorld(chain.Fallback(), s)
	if err != nil {
		t.Fatal(err)
	}
	stopped, err := crash.Run(t.Context(), options(w), s.Input, p)
	if err != nil || !stopped.Killed {
		t.Fatalf("killed %t, %v", stopped.Killed, err)
	}
	return w, stopped
}

func TestAFinisherEndsEveryDeadRun(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		t.Run(fmt.Sprintf("stuck %t", stuck), func(t *testing.T) {
			each(t, false, func(t *testing.T, s scenario.Scenario, p crash.Point) {
				w, stopped := kill(t, s, p)
				w.Stuck = stuck
				o, err := finish(w, stopped)
				if err != nil {
					t.Fatal(err)
				}
				if err := sound(o, w); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestARerunEndsEveryDeadRun(t *testing.T) {
	each(t, true, func(t *testing.T, s scenario.Scenario, p crash.Point) {
		w, stopped := kill(t, s, p)
		if p.When == crash.Lost {
			w.Rewind()
		}
		o := options(w)
		res, err := walk.Resume(t.Context(), o, stopped.Next, stopped.State)
		if err != nil {
			t.Fatal(err)
		}
		if last := s.Path[len(s.Path)-1]; res.Terminal != last {
			t.Errorf("ends %q (%s: %s); without the kill it ends %q", res.Terminal, res.Error, res.Cause, last)
		}
	})
}

func TestWhatIsDurable(t *testing.T) {
	scenarios, err := scenario.Generate(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(scenarios, func(s scenario.Scenario) bool {
		return slices.Contains(s.Path, "VolumeAttachmentSync") && s.Mode == "recover"
	})
	for _, c := range []struct {
		when    crash.When
		next    string
		journal []string
	}{
		{crash.Before, "VolumeAttachmentSync", nil},
		{crash.Lost, "VolumeAttachmentSync", []string{"VolumeAttachmentSync"}},
		{crash.After, "AwaitVolumeAttachmentSync", []string{"VolumeAttachmentSync"}},
	} {
		t.Run(string(c.when), func(t *testing.T) {
			w, stopped := kill(t, scenarios[i], crash.Point{State: "VolumeAttachmentSync", Visit: 1, When: c.when})
			if stopped.Next != c.next || !slices.Equal(w.Journal, c.journal) {
				t.Errorf("next %s, journal %v; want %s, %v", stopped.Next, w.Journal, c.next, c.journal)
			}
			if has := strings.Contains(string(stopped.State), `"volumesync"`); has != (c.when == crash.After) {
				t.Errorf("the section is there: %t", has)
			}
		})
	}
}

func TestAPointThatIsNotReachedKillsNothing(t *testing.T) {
	scenarios, err := scenario.Generate(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	w, err := crash.NewWorld(chain.Fallback(), scenarios[0])
	if err != nil {
		t.Fatal(err)
	}
	stopped, err := crash.Run(t.Context(), options(w), scenarios[0].Input, crash.Point{State: "Nowhere", Visit: 1, When: crash.Before})
	if err != nil || stopped.Killed || stopped.Result.Terminal == "" || stopped.Next != "" {
		t.Errorf("%+v, %v", stopped, err)
	}
}

func TestAFailedCheckpointIsNoKill(t *testing.T) {
	full := errors.New("disk full")
	scenarios, err := scenario.Generate(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	w, err := crash.NewWorld(chain.Fallback(), scenarios[0])
	if err != nil {
		t.Fatal(err)
	}
	o := options(w)
	o.Checkpoint = func(string, json.RawMessage) error { return full }
	if _, err := crash.Run(t.Context(), o, scenarios[0].Input, crash.Point{State: "TakeLease", Visit: 1, When: crash.Before}); !errors.Is(err, full) {
		t.Error(err)
	}
}
