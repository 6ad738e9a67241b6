package graph

import (
	"fmt"
	"slices"
	"strings"

	"fallbackchain.io/fallback/statemachine/cond"
)

// Expand returns the plain states of the graph. It fails on what has no expansion (a malformed call, a name used twice, a
// demotion to a node that is not there); whether the states make sense is for the proof to say.
func (g *Graph) Expand() (*Machine, error) {
	x := expander{g: g, m: &Machine{Graph: g, index: map[string]int{}}}
	for i := range g.Nodes {
		if err := x.node(&g.Nodes[i]); err != nil {
			return nil, fmt.Errorf("node %s: %w", g.Nodes[i].Name, err)
		}
	}
	return x.m, nil
}

type expander struct {
	g *Graph
	m *Machine
}

func (x *expander) add(s State) error {
	if s.Name == "" {
		return fmt.Errorf("a state has no name")
	}
	if _, there := x.m.index[s.Name]; there {
		return fmt.Errorf("two states are named %s", s.Name)
	}
	x.m.index[s.Name] = len(x.m.States)
	x.m.States = append(x.m.States, s)
	return nil
}

func (x *expander) node(n *Node) error {
	switch n.Kind {
	case Task, Await:
		return x.task(n, n.Name, n.Name, n.Call, n.Kind == Await, n.Fault)
	case Tier:
		return x.tier(n)
	case Choice:
		return x.add(State{Name: n.Name, Kind: Choice, Node: n.Name, Rules: n.Rules, Default: n.Default, Ordered: n.Ordered})
	case Pass, Wait, Succeed, Fail:
		s := State{Name: n.Name, Kind: n.Kind, Node: n.Name, Next: n.Next, InputPath: n.InputPath, Result: n.Result,
			ResultPath: n.ResultPath, TimestampPath: n.TimestampPath, Budget: n.WaitBudget, Cause: n.Cause}
		if n.Kind == Fail {
			if s.Error = n.Error; s.Error == "" {
				s.Error = n.Name
			}
		}
		return x.add(s)
	}
	return fmt.Errorf("kind %q is unknown", n.Kind)
}

// task adds a task and, when phases decide, the choice after it.
func (x *expander) task(n *Node, name, node, call string, awaits bool, fault string) error {
	function, op, ok := strings.Cut(call, "/")
	if !ok || function == "" || op == "" {
		return fmt.Errorf("call %q is not function/op", call)
	}
	s := State{Name: name, Kind: Task, Node: node, Function: function, Op: op, Section: n.Section, Awaits: awaits, Budget: n.Budget,
		Effects: n.Effects, Timeout: x.g.Timing.Task, ResultPath: cond.Path("$." + n.Section), Next: n.Next}
	if !s.asksApproval() {
		s.Retry = []Retry{x.g.ServiceRetry, x.g.FaultRetry}
	}
	path := n.FaultPath
	if path == "" {
		path = cond.Path("$.faults." + n.Section)
	}
	s.Catch = x.catches(n, fault, path)
	if len(n.On) == 0 && !awaits {
		return x.add(s)
	}
	phase := cond.Path("$." + n.Section + ".phase")
	after := State{Name: name + "Phase", Kind: Choice, Node: node, Default: fault}
	if awaits {
		s.Phases = append(s.Phases, Running)
		after.Rules = append(after.Rules, Rule{When: cond.Equals(phase, Running), Next: name})
	}
	for _, on := range n.On {
		s.Phases = append(s.Phases, on.Phase)
		if on.Next != fault {
			after.Rules = append(after.Rules, Rule{When: cond.Equals(phase, on.Phase), Next: on.Next})
		}
	}
	s.Next = after.Name
	if err := x.add(s); err != nil {
		return err
	}
	return x.add(after)
}

func (s *State) asksApproval() bool {
	return slices.ContainsFunc(s.Effects, func(e Effect) bool { return e.Kind == AsksApproval })
}

func (x *expander) catches(n *Node, fault string, path cond.Path) []Catch {
	if fault == "" {
		return nil
	}
	var out []Catch
	classes := x.g.Classes
	if n.Dirty != "" {
		out = append(out, Catch{Errors: classes.Dirty, Next: n.Dirty, ResultPath: path})
	}
	if n.Stop != "" {
		out = append(out, Catch{Errors: sorted(classes.Abort, classes.Rollback), Next: n.Stop, ResultPath: path})
	}
	if n.Demote != nil {
		out = append(out, Catch{Errors: classes.Demote, Next: fault, ResultPath: path})
	}
	return append(out, Catch{Errors: []string{AllErrors}, Next: fault, ResultPath: path})
}

func sorted(lists ...[]string) []string {
	out := slices.Concat(lists...)
	slices.Sort(out)
	return out
}

// tier adds start, await, and the way down.
func (x *expander) tier(n *Node) error {
	fault := n.Fault
	if n.Demote != nil {
		fault = "Demote" + n.Name
	}
	start := *n
	start.On, start.Next, start.Budget = nil, n.AwaitName, ""
	if n.Rank > 0 {
		start.Effects = append([]Effect{{Kind: EntersTier}}, n.Effects...)
	}
	if err := x.task(&start, n.Name, n.Name, n.Call, false, fault); err != nil {
		return err
	}
	x.m.States[x.m.index[n.Name]].Rank = n.Rank
	await := *n
	await.On = slices.Clone(n.On)
	for i, on := range await.On {
		if on.Next == "" {
			await.On[i].Next = fault
		}
	}
	if err := x.task(&await, n.AwaitName, n.Name, n.AwaitCall, true, fault); err != nil {
		return err
	}
	if n.Demote == nil {
		return nil
	}
	return x.demotion(n)
}

// demotion adds the copy of the assessment, the assessment again, and the choice among lower tiers.
func (x *expander) demotion(n *Node) error {
	assess, choose := x.g.Node(n.Demote.Assess), x.g.Node(n.Demote.Choose)
	if assess == nil || choose == nil {
		return fmt.Errorf("demotes by %s and %s, which are not there", n.Demote.Assess, n.Demote.Choose)
	}
	again, next := AssessAfter(n.Name), choose.Name+"After"+n.Name
	section := "$." + assess.Section
	err := x.add(State{Name: "Demote" + n.Name, Kind: Pass, Node: n.Name, InputPath: cond.Path(section),
		ResultPath: cond.Path("$.demotions." + n.Name + "." + assess.Section), Next: again})
	if err != nil {
		return err
	}
	copied := *assess
	copied.On = slices.Clone(assess.On)
	for i := range copied.On {
		if copied.On[i].Next == choose.Name {
			copied.On[i].Next = next
		}
	}
	if err := x.task(&copied, again, again, assess.Call, true, assess.Fault); err != nil {
		return err
	}
	var lower []Rule
	for _, r := range choose.Rules {
		tier := r.Tier
		if tier == "" {
			tier = r.Next
		}
		if t := x.g.Node(tier); t != nil && t.Rank < n.Rank {
			lower = append(lower, r)
		}
	}
	return x.add(State{Name: next, Kind: Choice, Node: next, Rules: lower, Default: choose.Default, Ordered: choose.Ordered})
}

// AssessAfter is the name of the assessment after a tier was left downwards.
func AssessAfter(tier string) string { return "AssessAfter" + tier }
