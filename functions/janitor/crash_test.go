package janitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/functions/janitor"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
	"fallbackchain.io/fallback/statemachine/walk/crash"
	"fallbackchain.io/fallback/statemachine/walk/scenario"
)

// cluster is a crash.World in which the functions that finish a run do their work on what is there, whatever a scenario would have
// answered: they undo by the journal, release the lease and write the report.
type cluster struct {
	*crash.World
	// undid tells that the janitor undid something, or tried.
	undid bool
}

// undo is what rollback and teardown come to.
func (c *cluster) undo() run.Undo {
	c.undid = true
	switch {
	case len(c.Journal) == 0:
		return run.Undo{Phase: run.NothingToUndo}
	case c.Undo():
		return run.Undo{Phase: run.Undone}
	default:
		return run.Undo{Phase: run.Incomplete, Left: slices.Clone(c.Journal)}
	}
}

// handlers refuse what a janitor has no business with: it must not go on with what a dead run was about to do.
func (c *cluster) handlers(t *testing.T) map[string]walk.Handler {
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	undo := func(_ context.Context, op, _ string, _ run.Run) (run.Undo, error) {
		if op == "start" {
			return run.Undo{Phase: run.Started}, nil
		}
		return c.undo(), nil
	}
	out := map[string]walk.Handler{}
	for _, f := range m.Functions() {
		out[f] = func(_ context.Context, in json.RawMessage) (json.RawMessage, error) {
			t.Errorf("the janitor called %s: %s", f, in)
			return nil, errors.New("not the janitor's")
		}
	}
	out["rollback"], out["teardown"] = walk.Adapt(undo), walk.Adapt(undo)
	out["quarantine"] = walk.Adapt(func(_ context.Context, op, state string, _ run.Run) (run.Quarantine, error) {
		if op != "lift" {
			t.Errorf("the janitor called quarantine/%s in %s", op, state)
		}
		c.Journal = slices.DeleteFunc(c.Journal, func(n string) bool { return n == "IsolateWorkload" })
		delete(c.Objects, "IsolateWorkload")
		return run.Quarantine{Phase: run.Lifted}, nil
	})
	out["lease"] = walk.Adapt(func(_ context.Context, op, state string, _ run.Run) (run.Lease, error) {
		if op != "release" {
			t.Errorf("the janitor called lease/%s in %s", op, state)
		}
		c.Lease = false
		return run.Lease{Phase: run.Released}, nil
	})
	out["report"] = walk.Adapt(func(_ context.Context, _, _ string, r run.Run) (run.Report, error) {
		if r.FinishedBy != "janitor" {
			t.Errorf("finishedBy is %q in the report of a run that the janitor finished", r.FinishedBy)
		}
		c.Reports++
		return run.Report{Phase: run.Written}, nil
	})
	return out
}

func options(handlers map[string]walk.Handler) walk.Options {
	now := scenario.Start()
	return walk.Options{Graph: chain.Fallback(), Handlers: handlers, Now: func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil }}
}

// kill walks a scenario until it is killed.
func kill(t *testing.T, s scenario.Scenario, p crash.Point) (*cluster, crash.Stopped) {
	t.Helper()
	w, err := crash.NewWorld(chain.Fallback(), s)
	if err != nil {
		t.Fatal(err)
	}
	stopped, err := crash.Run(t.Context(), options(w.Handlers()), s.Input, p)
	if err != nil || !stopped.Killed {
		t.Fatalf("killed %t, %v", stopped.Killed, err)
	}
	return &cluster{World: w}, stopped
}

var errKilled = errors.New("the janitor is dead, too")

// finish runs the janitor. It is killed before it keeps its checkpoint number killAt (never: -1), and then run again from what is
// durable.
func finish(t *testing.T, c *cluster, d janitor.Dead, killAt int) (run.Run, walk.Result) {
	t.Helper()
	h := &janitor.Handler{Quiesce: janitor.LongestFunction, Sleep: func(context.Context, time.Duration) error { return nil }}
	h.Resume = func(ctx context.Context, state string, in json.RawMessage) (walk.Result, error) {
		o := options(c.handlers(t))
		kept := 0
		o.Checkpoint = func(next string, state json.RawMessage) error {
			if kept == killAt {
				return errKilled
			}
			kept++
			d = janitor.Dead{Next: next, State: state}
			return nil
		}
		return walk.Resume(ctx, o, state, in)
	}
	res, err := h.Finish(t.Context(), d)
	if errors.Is(err, errKilled) && d.Next != "" {
		killAt = -1
		res, err = h.Finish(t.Context(), d)
	}
	if err != nil {
		t.Fatal(err)
	}
	var r run.Run
	if err := json.Unmarshal(res.Output, &r); err != nil {
		t.Fatal(err)
	}
	return r, res
}

// sound says what a run that was finished must not look like. before is the run as it was when it died.
func sound(t *testing.T, c *cluster, before, after run.Run, terminal string) {
	t.Helper()
	o := after.Ended(terminal)
	gone := after.Mode == run.Drill || o == run.Aborted || o == run.RolledBack
	left := append([]string{}, undoOf(after).Left...)
	switch {
	case !slices.Contains(run.Outcomes, o):
		t.Errorf("%q (%s) is no outcome", o, terminal)
	case c.Lease && o != run.Dirty:
		t.Errorf("%s keeps the lease", o)
	case o == run.Dirty && c.undid && !slices.Equal(left, c.Journal):
		t.Errorf("Dirty names %v; left are %v", left, c.Journal)
	case o != run.Dirty && gone && len(c.Objects) > 0:
		t.Errorf("%s leaves %v", o, c.Objects)
	case o == run.Recovered && (before.Gate == nil || before.Gate.Phase != run.Passed):
		t.Errorf("Recovered without a gate that passed: %+v", before.Gate)
	case o == run.Aborted && before.Outcome == nil && after.Rollback != nil && after.Rollback.Phase == run.Undone:
		t.Error("Aborted after something was undone")
	}
	if c.Reports == 0 {
		t.Errorf("%s has no report", o)
	}
}

func undoOf(r run.Run) run.Undo {
	for _, u := range []*run.Undo{r.Rollback, r.Teardown} {
		if u != nil {
			return *u
		}
	}
	return run.Undo{}
}

// each calls f once for every way to every point: before, during and after every changing state.
func each(t *testing.T, f func(t *testing.T, s scenario.Scenario, p crash.Point)) {
	t.Helper()
	scenarios, err := scenario.Generate(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	points, err := crash.Points(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	done, reached := map[string]bool{}, map[crash.Point]bool{}
	for _, s := range scenarios {
		for _, p := range points {
			at := slices.Index(s.Path, p.State)
			if at < 0 {
				continue
			}
			key := fmt.Sprint(s.Mode, p, strings.Join(s.Path[:at+1], " "))
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

func dead(t *testing.T, s crash.Stopped) (janitor.Dead, run.Run) {
	t.Helper()
	var r run.Run
	if err := json.Unmarshal(s.State, &r); err != nil {
		t.Fatal(err)
	}
	return janitor.Dead{Next: s.Next, State: s.State}, r
}

// TestTheJanitorEndsEveryDeadRun: wherever a run was killed it ends in a defined outcome, with nothing left, or Dirty with the
// names of what is left; when nothing can be undone, too.
func TestTheJanitorEndsEveryDeadRun(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		t.Run(fmt.Sprintf("stuck %t", stuck), func(t *testing.T) {
			each(t, func(t *testing.T, s scenario.Scenario, p crash.Point) {
				c, stopped := kill(t, s, p)
				c.Stuck = stuck
				d, before := dead(t, stopped)
				after, res := finish(t, c, d, -1)
				sound(t, c, before, after, res.Terminal)
			})
		})
	}
}

// TestAJanitorThatDiesIsFinished: the janitor itself is killed before each of its checkpoints, and called again. What it does depends on
// the state that was next, the gate's answer and the journal alone, so each of these is taken once.
func TestAJanitorThatDiesIsFinished(t *testing.T) {
	const most = 8
	seen := map[string]bool{}
	each(t, func(t *testing.T, s scenario.Scenario, p crash.Point) {
		c, stopped := kill(t, s, p)
		d, before := dead(t, stopped)
		key := fmt.Sprint(before.Mode, d.Next, before.Gate != nil && before.Gate.Phase == run.Passed, c.Journal)
		if seen[key] {
			return
		}
		seen[key] = true
		for at := range most {
			c, _ := kill(t, s, p)
			after, res := finish(t, c, d, at)
			sound(t, c, before, after, res.Terminal)
		}
	})
	if len(seen) < 20 {
		t.Errorf("only %d dead runs differ", len(seen))
	}
}

// TestARerunEndsEveryDeadRun: the run goes on at its last checkpoint and ends as it would have ended.
func TestARerunEndsEveryDeadRun(t *testing.T) {
	scenarios, err := scenario.Generate(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	points, err := crash.Points(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range scenarios {
		for _, p := range points {
			if !slices.Contains(s.Path, p.State) {
				continue
			}
			n++
			c, stopped := kill(t, s, p)
			if p.When == crash.Lost {
				c.Rewind()
			}
			res, err := walk.Resume(t.Context(), options(c.Handlers()), stopped.Next, stopped.State)
			if err != nil {
				t.Fatal(err)
			}
			if want := s.Path[len(s.Path)-1]; res.Terminal != want {
				t.Errorf("%s in %s: ends %q, without the kill it ends %q", p, s.Name, res.Terminal, want)
			}
			if o := (run.Outcome)(res.Terminal); (o == run.Aborted || o == run.RolledBack || o == run.Recovered) && c.Lease {
				t.Errorf("%s in %s: %s keeps the lease", p, s.Name, o)
			}
		}
	}
	t.Logf("%d runs", n)
}
