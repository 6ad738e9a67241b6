// Package graph holds the types of a run's graph: the nodes of the picture (Graph) and the plain states they expand to
// (Machine). It knows nothing of AWS; renderers, the proof and the walker read it. Standard library only.
package graph

import (
	"time"

	"fallbackchain.io/fallback/statemachine/cond"
)

// Kind of a node of the picture.
type Kind string

// Task calls a function once. Await calls it again while its phase is Running. Tier is a Start task and an Await with one
// budget. The other kinds are those of the States Language.
const (
	Task    Kind = "Task"
	Await   Kind = "Await"
	Tier    Kind = "Tier"
	Choice  Kind = "Choice"
	Pass    Kind = "Pass"
	Wait    Kind = "Wait"
	Succeed Kind = "Succeed"
	Fail    Kind = "Fail"
)

// Running is the phase with which an Await asks to be called again.
const Running = "Running"

// On sends a phase of a task's section to the next node.
type On struct{ Phase, Next string }

// Rule sends a condition of a Choice to the next node.
type Rule struct {
	When cond.Cond
	Next string
	// Tier is the tier that the rule leads to, when Next is not that tier itself: a demotion keeps only rules to lower tiers.
	Tier string
}

// Demotion is how a tier is left downwards: the section of the assessment is kept, the assessment is made again, and the
// choice is made again among lower tiers only.
type Demotion struct{ Assess, Choose string }

// Node is one node of the picture.
type Node struct {
	Name string
	Kind Kind
	// Title is the node's text in the picture; Name when empty.
	Title string

	// Call is "function/op" of a Task or Await, and of a Tier's start.
	Call string
	// AwaitName and AwaitCall are the state and the "function/op" of a Tier's Await.
	AwaitName, AwaitCall string
	// Section is where the result goes: $.<Section>.
	Section string
	// Budget is the plan field that bounds an Await or a Tier.
	Budget string
	// On lists the phases that end the node. Without any, a Task goes to Next whatever it says.
	On []On
	// Fault is where every error goes that nothing else catches, and every phase that On does not name.
	Fault string
	// Dirty is where errors of the class Dirty go; like Fault when empty.
	Dirty string
	// Stop is where errors of the classes Abort and Rollback go; like Fault when empty.
	Stop string
	// Rank orders the recovery tiers: a greater rank is preferred. 0 for a Tier that is not on the ladder.
	Rank int
	// Demote says how a tier is left downwards; it then stands in for Fault.
	Demote *Demotion
	// FaultPath is where a Catch writes; $.faults.<Section> when empty.
	FaultPath cond.Path
	Effects   []Effect

	// Next follows a Pass, a Wait, or a Task without On.
	Next string

	// Rules, Default and Ordered make a Choice. Rules that are not ordered must exclude each other.
	Rules   []Rule
	Default string
	Ordered bool

	// InputPath and Result are a Pass's source: a copy, or a constant. ResultPath is where it is written.
	InputPath, ResultPath cond.Path
	Result                map[string]string

	// TimestampPath is until when a Wait waits (RFC 3339).
	TimestampPath cond.Path
	// WaitBudget is the plan field that bounds a Wait.
	WaitBudget string

	// Cause is a Fail's text; its error is Error, or Name.
	Error, Cause string
}

// Var is a variable that conditions may read, with its finite domain.
type Var struct {
	Path   cond.Path
	Values []cond.Value
}

// Retry is one retrier of the States Language.
type Retry struct {
	Errors   []string
	Interval time.Duration
	Backoff  float64
	// MaxAttempts counts the retries, not the first try.
	MaxAttempts int
	MaxDelay    time.Duration
}

// Timing holds the nested time limits that the proof compares.
type Timing struct {
	// Slice < Function < Task: a call's own bound, the function's timeout, the task's TimeoutSeconds.
	Slice, Function, Task time.Duration
	// MinRound is the shortest time in which an Await's call returns Running.
	MinRound time.Duration
	// Machine is TimeoutSeconds of the execution, Lease the duration of the workload's lease.
	Machine, Lease time.Duration
}

// Classes lists the fault codes of each class.
type Classes struct{ Retry, Demote, Rollback, Abort, Dirty []string }

// Graph is a state machine as a picture.
type Graph struct {
	Name, Comment string
	Start         string
	// Mode is the variable that tells the mode. Modes are served; Refused are known and end without a change.
	Mode           cond.Path
	Modes, Refused []string
	// Outcome is the variable that tells how a run ended.
	Outcome cond.Path
	// Vars are the variables of the sections that choices read; phases, the mode and the outcome are declared by the nodes.
	Vars  []Var
	Nodes []Node
	// Service and Classes tell which errors are retried and how codes are routed.
	ServiceRetry, FaultRetry Retry
	Classes                  Classes
	Timing                   Timing
	// Caps is the greatest value of each plan field that bounds a wait.
	Caps map[string]time.Duration
	// Outside are the functions that no state calls (what starts a run and what finishes a dead one).
	Outside []string
}

// Node returns the node of a name, to read or to change it; nil when there is none.
func (g *Graph) Node(name string) *Node {
	for i := range g.Nodes {
		if g.Nodes[i].Name == name {
			return &g.Nodes[i]
		}
	}
	return nil
}
