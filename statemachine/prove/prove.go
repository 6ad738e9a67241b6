// Package prove checks the invariants of a graph on the product of its states, the outcomes of its tasks, and its modes, and
// answers each failure with a shortest path that shows it. The invariants are those of the project's design, section 5.
// Standard library only.
package prove

import (
	"fmt"
	"slices"
	"strings"

	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/space"
)

// Input is what is proved.
type Input struct {
	Graph *graph.Graph
	// Functions are the functions there are (directories of functions/, or the handlers registered).
	Functions []string
	// Template are the functions that template.yaml names; nil when there is no template to compare with.
	Template []string
	// Codes are the fault codes there are, by class.
	Codes graph.Classes
}

// Rule names an invariant.
type Rule struct {
	Number int
	// Name is stable: reports and tests compare it.
	Name string
	Says string
}

// Rules lists the invariants in their order.
func Rules() []Rule {
	return []Rule{
		{1, "every-run-ends", "every target exists, every state is reachable and can end; the only cycles are Await loops, each with a budget that has a cap"},
		{2, "tiers-descend", "tiers are only left downwards"},
		{3, "quarantine-holds", "a verified quarantine dominates every degraded state and, in a drill, every restore; it ends in lift, undo or Dirty"},
		{4, "changes-can-be-undone", "lease, journal and rollback point dominate every change; each change names a compensation that can be reached from it and its catch"},
		{5, "gate-decides", "no Recovered and no traffic shift without a passed gate; a shift is verified or reverted"},
		{6, "modes-keep-their-bounds", "a drill reaches no traffic, fencing, promotion or change to the source, and ends its changes in teardown or Dirty; evaluate changes nothing"},
		{7, "report-and-release", "the report is attempted on every path after admission; the lease is released on every path that took it but Dirty"},
		{8, "tasks-are-guarded", "every task has a timeout, a retry for service errors (but approval) and a last catch of States.ALL"},
		{9, "times-fit", "slice < function < task timeout; lease > machine timeout >= worst path at the caps; worst history < 25,000 events; names are legal"},
		{10, "choices-are-total", "every choice has a default, reads only what is there, and its rules exclude each other or are ordered; Go and rendered conditions agree"},
		{11, "both-sides-agree", "every function and fault code exists on both sides; the template names exactly the functions there are"},
	}
}

// Step is one state of a witness path and how it was left; Outcome is "" for the last.
type Step struct {
	State   string `json:"state"`
	Outcome string `json:"outcome,omitempty"`
}

// Failure is one way in which an invariant breaks.
type Failure struct {
	Message string `json:"message"`
	// Mode is the mode in which it does; "" when it does in none or in all.
	Mode string `json:"mode,omitempty"`
	// Witness is a shortest path that shows it; empty when no path does (a name, a number, a missing function).
	Witness []Step `json:"witness,omitempty"`
}

// Verdict is an invariant with its failures; none means that it holds.
type Verdict struct {
	Rule
	Failures []Failure
}

// Report is the outcome of a proof.
type Report struct {
	Graph    string
	Verdicts []Verdict
	// States, Configs and Edges tell how much was explored.
	States, Configs, Edges int
	Worst                  Worst
}

// OK tells whether every invariant holds.
func (r Report) OK() bool {
	return !slices.ContainsFunc(r.Verdicts, func(v Verdict) bool { return len(v.Failures) > 0 })
}

// maxFailures is how many failures of one invariant are kept: the first have the shortest paths.
const maxFailures = 5

// Prove checks every invariant. The error is for a graph that cannot be expanded at all.
func Prove(in Input) (Report, error) {
	m, err := in.Graph.Expand()
	if err != nil {
		return Report{}, fmt.Errorf("graph %s: %w", in.Graph.Name, err)
	}
	p := &prover{in: in, m: m, failures: make([][]Failure, len(Rules()))}
	p.tasks()
	p.sides()
	p.names()
	p.loops()
	md, err := space.New(m)
	if err != nil {
		p.unexplored(err)
	} else {
		p.explore(md)
		p.choices(md)
	}
	r := Report{Graph: m.Name, States: len(m.States), Worst: p.worst}
	for i, rule := range Rules() {
		r.Verdicts = append(r.Verdicts, Verdict{rule, p.failures[i]})
	}
	if p.sp != nil {
		r.Configs = len(p.sp.Configs)
		for _, out := range p.sp.Out {
			r.Edges += len(out)
		}
	}
	return r, nil
}

type prover struct {
	in       Input
	m        *graph.Machine
	sp       *space.Space[facts]
	first    map[string]int
	failures [][]Failure
	worst    Worst
}

// fail records a failure once.
func (p *prover) fail(rule int, f Failure) {
	have := p.failures[rule-1]
	if len(have) >= maxFailures || slices.ContainsFunc(have, func(h Failure) bool { return h.Message == f.Message }) {
		return
	}
	p.failures[rule-1] = append(have, f)
}

func (p *prover) failf(rule int, format string, args ...any) {
	p.fail(rule, Failure{Message: fmt.Sprintf(format, args...)})
}

// failAt records a failure with the shortest path to a configuration.
func (p *prover) failAt(rule, config int, format string, args ...any) {
	p.fail(rule, Failure{Message: fmt.Sprintf(format, args...), Mode: p.sp.Configs[config].Mode, Witness: witness(p.sp.Path(config))})
}

// unexplored says of every rule on the product that it could not be checked: unknown is not proved.
func (p *prover) unexplored(err error) {
	p.failf(10, "%v", err)
	for _, rule := range []int{1, 2, 3, 4, 5, 6, 7, 9} {
		p.failf(rule, "could not be checked: %v", err)
	}
}

func witness(path []space.Step) []Step {
	out := make([]Step, len(path))
	for i, s := range path {
		out[i] = Step{State: s.State, Outcome: s.Outcome.Name}
	}
	return out
}

// String writes a witness as one line.
func (f Failure) String() string {
	var b strings.Builder
	b.WriteString(f.Message)
	if f.Mode != "" {
		fmt.Fprintf(&b, " (mode %s)", f.Mode)
	}
	for i, s := range f.Witness {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString(" > ")
		}
		b.WriteString(s.State)
		if s.Outcome != "" {
			fmt.Fprintf(&b, "[%s]", s.Outcome)
		}
	}
	return b.String()
}
