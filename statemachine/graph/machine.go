package graph

import (
	"time"

	"fallbackchain.io/fallback/statemachine/cond"
)

// Catch is one catcher of the States Language.
type Catch struct {
	Errors     []string
	Next       string
	ResultPath cond.Path
}

// AllErrors is the error name that catches everything but States.DataLimitExceeded and States.Runtime
// (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html).
const AllErrors = "States.ALL"

// State is one plain state, as the States Language has it.
type State struct {
	Name string
	// Kind is Task, Choice, Pass, Wait, Succeed or Fail.
	Kind Kind
	// Node is the node of the picture that the state belongs to.
	Node string

	Function, Op, Section string
	// Phases are what the task's section may say; none when nothing reads it.
	Phases []string
	// Awaits tells that the task is called again while its phase is Running, within Budget.
	Awaits  bool
	Budget  string
	Rank    int
	Effects []Effect
	Timeout time.Duration
	Retry   []Retry
	Catch   []Catch

	Next    string
	Rules   []Rule
	Default string
	Ordered bool

	InputPath, ResultPath cond.Path
	Result                map[string]string
	TimestampPath         cond.Path
	Error, Cause          string
}

// Terminal tells whether the state ends the execution.
func (s *State) Terminal() bool { return s.Kind == Succeed || s.Kind == Fail }

// Changes tells whether the state changes something outside the run, in any mode.
func (s *State) Changes() bool {
	for _, e := range s.Effects {
		if e.Kind.Change() {
			return true
		}
	}
	return false
}

// Targets lists every state that may follow, in the order rules, default, next, catches; each once.
func (s *State) Targets() []string {
	var out []string
	add := func(t string) {
		if t == "" {
			return
		}
		for _, have := range out {
			if have == t {
				return
			}
		}
		out = append(out, t)
	}
	for _, r := range s.Rules {
		add(r.Next)
	}
	add(s.Default)
	add(s.Next)
	for _, c := range s.Catch {
		add(c.Next)
	}
	return out
}

// Machine is the expanded graph.
type Machine struct {
	*Graph
	States []State
	index  map[string]int
}

// State returns the state of a name.
func (m *Machine) State(name string) (*State, bool) {
	i, ok := m.index[name]
	if !ok {
		return nil, false
	}
	return &m.States[i], true
}

// Index returns a state's place in States; -1 when there is none of that name.
func (m *Machine) Index(name string) int {
	if i, ok := m.index[name]; ok {
		return i
	}
	return -1
}

// Functions lists the functions that the states call, each once, in the order of the states.
func (m *Machine) Functions() []string {
	seen := map[string]bool{}
	var out []string
	for i := range m.States {
		if f := m.States[i].Function; f != "" && !seen[f] {
			seen[f] = true
			out = append(out, f)
		}
	}
	return out
}
