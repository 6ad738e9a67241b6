package chain_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

func machine(t *testing.T) *graph.Machine {
	t.Helper()
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// choose answers ChooseTier, or its copy after a tier, for signals that are all False but the given, and all tiers enabled but
// the given.
func choose(t *testing.T, state string, signals map[signal.Name]signal.Status, disabled ...string) string {
	t.Helper()
	s, ok := machine(t).State(state)
	if !ok {
		t.Fatalf("no state %s", state)
	}
	at := func(p cond.Path) cond.Value {
		names := p.Names()
		if names[0] == "admit" {
			return cond.Flag(!slices.Contains(disabled, names[2]))
		}
		if v, ok := signals[signal.Name(names[2])]; ok {
			return cond.Text(string(v))
		}
		return cond.Text(string(signal.False))
	}
	for _, r := range s.Rules {
		if ok, err := r.When.EvalAt(at); err != nil {
			t.Fatal(err)
		} else if ok {
			return r.Next
		}
	}
	return s.Default
}

func TestChooseTier(t *testing.T) {
	healthy := map[signal.Name]signal.Status{signal.CSIDriverHealthy: signal.True, signal.PVCsBound: signal.True}
	inventory := map[signal.Name]signal.Status{signal.InventoryVerified: signal.True, signal.EtcdSnapshotVerified: signal.NotApplicable, signal.APIServerReady: signal.True}
	with := func(base map[signal.Name]signal.Status, n signal.Name, s signal.Status) map[signal.Name]signal.Status {
		out := map[signal.Name]signal.Status{}
		for k, v := range base {
			out[k] = v
		}
		out[n] = s
		return out
	}
	const volumes, objects, degraded, giveUp = "VolumeAttachmentSync", "ControlPlaneReconcile", "IsolateWorkload", "GiveUp"
	for _, c := range []struct {
		name     string
		signals  map[signal.Name]signal.Status
		disabled []string
		want     [3]string // first, after volumes, after objects
	}{
		{"volumes qualify", healthy, nil, [3]string{volumes, degraded, degraded}},
		{"an unknown driver qualifies for nothing", with(healthy, signal.CSIDriverHealthy, signal.Unknown), nil, [3]string{degraded, degraded, degraded}},
		{"unbound claims do not qualify", with(healthy, signal.PVCsBound, signal.False), nil, [3]string{degraded, degraded, degraded}},
		{"attach errors are no entry condition", with(healthy, signal.VolumesAttached, signal.False), nil, [3]string{volumes, degraded, degraded}},
		{"volumes disabled", healthy, []string{volumes}, [3]string{degraded, degraded, degraded}},
		{"inventory qualifies where etcd is hidden", inventory, nil, [3]string{objects, objects, degraded}},
		{"inventory qualifies with an etcd snapshot", with(inventory, signal.EtcdSnapshotVerified, signal.True), nil, [3]string{objects, objects, degraded}},
		{"an unverified etcd snapshot does not", with(inventory, signal.EtcdSnapshotVerified, signal.Unknown), nil, [3]string{degraded, degraded, degraded}},
		{"an API server that is not ready does not", with(inventory, signal.APIServerReady, signal.Unknown), nil, [3]string{degraded, degraded, degraded}},
		{"an unknown inventory does not", with(inventory, signal.InventoryVerified, signal.Unknown), nil, [3]string{degraded, degraded, degraded}},
		{"nothing qualifies and degraded is disabled", nil, []string{"DegradedStatefulSet"}, [3]string{giveUp, giveUp, giveUp}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, state := range []string{"ChooseTier", "ChooseTierAfterVolumeAttachmentSync", "ChooseTierAfterControlPlaneReconcile"} {
				if got := choose(t, state, c.signals, c.disabled...); got != c.want[i] {
					t.Errorf("%s leads to %s; want %s", state, got, c.want[i])
				}
			}
		})
	}
}

// The JSON names of run.Run are where sections are written, and a section that a choice reads has a phase.
func TestSectionsAreFieldsOfTheRun(t *testing.T) {
	sections := map[string]reflect.Type{}
	r := reflect.TypeFor[run.Run]()
	for i := range r.NumField() {
		name, _, _ := strings.Cut(r.Field(i).Tag.Get("json"), ",")
		sections[name] = r.Field(i).Type
	}
	for _, s := range machine(t).States {
		if s.Kind != graph.Task {
			continue
		}
		section, ok := sections[s.Section]
		if !ok {
			t.Errorf("%s writes $.%s, which is no field of a run", s.Name, s.Section)
			continue
		}
		if _, ok := section.Elem().FieldByName("Phase"); !ok && len(s.Phases) > 0 {
			t.Errorf("%s: section %s has no phase", s.Name, s.Section)
		}
	}
}

func TestPhasesAreThoseOfTheRun(t *testing.T) {
	known := []run.Phase{run.Running, run.Started, run.Succeeded, run.Failed, run.Admitted, run.Hold, run.NotAdmitted, run.Held, run.Busy, run.Released,
		run.Assessed, run.Unreadable, run.Captured, run.Applied, run.Verified, run.Broken, run.Lifted, run.Ready, run.NotReady, run.Passed, run.Refused,
		run.Undone, run.NothingToUndo, run.Incomplete, run.NotApplicable, run.Written}
	for _, s := range machine(t).States {
		for _, p := range s.Phases {
			if !slices.Contains(known, run.Phase(p)) {
				t.Errorf("%s may say %s, which is no phase of a run", s.Name, p)
			}
		}
		for _, e := range s.Effects {
			for _, p := range e.When {
				if !slices.Contains(s.Phases, p) && s.Name == s.Node && len(s.Phases) > 0 {
					t.Errorf("%s: effect %q by phase %s, which it does not say", s.Name, e.Kind, p)
				}
			}
		}
	}
}

func TestSignalsAndTiersAreDeclared(t *testing.T) {
	g := chain.Fallback()
	if len(g.Vars) != len(signal.Names)+3 {
		t.Errorf("%d variables", len(g.Vars))
	}
	for _, v := range g.Vars {
		names := v.Path.Names()
		if names[0] == "assess" && !slices.Contains(signal.Names, signal.Name(names[2])) {
			t.Errorf("%s is no signal", v.Path)
		}
		if names[0] == "admit" && g.Node(names[2]) == nil {
			t.Errorf("%s is no tier", v.Path)
		}
	}
}

func TestModesAndTerminals(t *testing.T) {
	g := chain.Fallback()
	for _, m := range run.Modes {
		if served := slices.Contains(g.Modes, string(m)); served != m.Supported() || served == slices.Contains(g.Refused, string(m)) {
			t.Errorf("mode %s: served %t, refused %t, supported %t", m, served, slices.Contains(g.Refused, string(m)), m.Supported())
		}
	}
	ends := map[string]graph.Kind{}
	for _, s := range machine(t).States {
		if s.Terminal() {
			ends[s.Name] = s.Kind
			if s.Kind == graph.Fail && (s.Error != s.Name || s.Cause == "") {
				t.Errorf("%s: error %q, cause %q", s.Name, s.Error, s.Cause)
			}
		}
	}
	want := map[string]graph.Kind{"Evaluated": graph.Succeed, "Recovered": graph.Succeed, "Skipped": graph.Succeed, "RolledBack": graph.Fail,
		"Aborted": graph.Fail, "Dirty": graph.Fail, "Refused": graph.Fail, "ReportFailed": graph.Fail}
	if !reflect.DeepEqual(ends, want) {
		t.Errorf("ends %v; want %v", ends, want)
	}
	for _, o := range run.Outcomes {
		if _, ok := ends[string(o)]; !ok {
			t.Errorf("no end is named %s", o)
		}
	}
}

func TestBudgetsAreFieldsOfThePlan(t *testing.T) {
	for _, s := range machine(t).States {
		if s.Budget == "" {
			continue
		}
		if l, ok := limits.Get(s.Budget); !ok || l.Cap <= 0 {
			t.Errorf("%s: %s has no cap", s.Name, s.Budget)
		}
	}
}

// The graph is data that changes nothing: two copies share nothing that a mutation of one would change in the other.
func TestEachCopyIsItsOwn(t *testing.T) {
	g := chain.Fallback()
	for i := range g.Nodes {
		n := &g.Nodes[i]
		for k := range n.On {
			n.On[k].Next = "@@"
		}
		for k := range n.Effects {
			n.Effects[k].Kind = "@@"
			for u := range n.Effects[k].Undo {
				n.Effects[k].Undo[u] = "@@"
			}
		}
		for k := range n.Rules {
			n.Rules[k].Next = "@@"
		}
	}
	for _, n := range chain.Fallback().Nodes {
		if text := fmt.Sprintf("%v", n); strings.Contains(text, "@@") {
			t.Errorf("%s shares what another copy changed", n.Name)
		}
	}
}

// About as long as the picture: one screen a page.
func TestTheSourceStaysReadable(t *testing.T) {
	data, err := os.ReadFile("chain.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "\n"); n > 200 {
		t.Errorf("chain.go has %d lines; the graph must stay readable beside the flowchart", n)
	}
}
