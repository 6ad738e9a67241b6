package testbed

import (
	"os"
	"path/filepath"
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Option changes how a run is begun.
type Option = func(*runner.Runner, *runner.Request)

// Plan runs another plan than the sample's first.
func Plan(path string) Option {
	return func(_ *runner.Runner, q *runner.Request) { q.PlanPath = path }
}

// Edited runs a changed copy of a plan.
func Edited(t *testing.T, path string, edit func(string) string) Option {
	t.Helper()
	return Plan(EditedFile(t, path, edit))
}

// EditedFile writes a changed copy of a plan, in the same directory so that its relative paths hold, and returns its path. It is
// removed when the test ends.
func EditedFile(t *testing.T, path string, edit func(string) string) string {
	t.Helper()
	was := Read(t, path)
	text := edit(was)
	if text == was {
		t.Fatal("the edit changed nothing")
	}
	f, err := os.CreateTemp(filepath.Dir(path), "plan-*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(f.Name()) })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// At calls f at an event of the run, once, before the run goes on.
func At(kind walk.EventKind, state string, f func()) Option {
	return func(r *runner.Runner, _ *runner.Request) {
		next, done := r.OnEvent, false
		r.OnEvent = func(e walk.Event) {
			next(e)
			if e.Kind == kind && e.State == state && !done {
				done = true
				f()
			}
		}
	}
}
