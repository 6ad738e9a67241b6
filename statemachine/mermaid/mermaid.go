// Package mermaid draws a graph as a Mermaid flowchart: the picture (a tier is one node) or every plain state. The same graph
// is always the same bytes.
package mermaid

import (
	"fmt"
	"slices"
	"strings"

	"fallbackchain.io/fallback/statemachine/graph"
)

// Options choose what is drawn.
type Options struct {
	// Mode draws only what runs of this mode can reach; "" draws everything.
	Mode string
	// Expanded draws every plain state; otherwise a tier, its way down and an Await's rounds are one node.
	Expanded bool
}

// edge is one arrow with the reasons for it.
type edge struct {
	from, to string
	reasons  []string
	// fault: only errors, undeclared phases and exhausted budgets go this way.
	fault bool
}

// Render returns the flowchart, ending in a newline.
func Render(g *graph.Graph, o Options) ([]byte, error) {
	d, err := draw(g, o)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	title := g.Name
	if o.Mode != "" {
		title += ": " + o.Mode
	}
	fmt.Fprintf(&b, "---\ntitle: %s\n---\nflowchart TD\n", title)
	for _, n := range d.nodes {
		fmt.Fprintf(&b, "    %s%s\n", n.name, n.shape)
	}
	for _, e := range d.edges {
		arrow := "-->"
		if e.fault {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "    %s %s", e.from, arrow)
		if label := strings.Join(e.reasons, ", "); label != "" {
			fmt.Fprintf(&b, "|\"%s\"|", label)
		}
		fmt.Fprintf(&b, " %s\n", e.to)
	}
	for _, c := range classDefs() {
		var members []string
		for _, n := range d.nodes {
			if n.class == c.name {
				members = append(members, n.name)
			}
		}
		if len(members) > 0 {
			fmt.Fprintf(&b, "    classDef %s %s\n    class %s %s\n", c.name, c.style, strings.Join(members, ","), c.name)
		}
	}
	return []byte(b.String()), nil
}

// Leads is a state of the drawing and where it leads: "GiveUp (Failed, fault)".
type Leads struct {
	State string
	To    []string
}

// Arrows lists the drawing's states in their order with where each leads, for people who read text.
func Arrows(g *graph.Graph, o Options) ([]Leads, error) {
	d, err := draw(g, o)
	if err != nil {
		return nil, err
	}
	var out []Leads
	for _, n := range d.nodes {
		l := Leads{State: n.name}
		for _, e := range d.edges {
			if e.from != n.name {
				continue
			}
			to := e.to
			if len(e.reasons) > 0 {
				to += " (" + strings.ReplaceAll(strings.Join(e.reasons, ", "), "<br>", " ") + ")"
			}
			l.To = append(l.To, to)
		}
		out = append(out, l)
	}
	return out, nil
}

type classDef struct{ name, style string }

func classDefs() []classDef {
	return []classDef{
		{"tier", "fill:#dbeafe,stroke:#1d4ed8,stroke-width:2px"},
		{"change", "fill:#fef3c7,stroke:#b45309"},
		{"good", "fill:#dcfce7,stroke:#15803d"},
		{"bad", "fill:#fee2e2,stroke:#b91c1c"},
	}
}

type node struct{ name, shape, class string }

type drawing struct {
	nodes []node
	edges []edge
}

func draw(g *graph.Graph, o Options) (drawing, error) {
	m, err := g.Expand()
	if err != nil {
		return drawing{}, fmt.Errorf("graph %s: %w", g.Name, err)
	}
	if o.Mode != "" && !slices.Contains(slices.Concat(g.Modes, g.Refused), o.Mode) {
		return drawing{}, fmt.Errorf("graph %s has no mode %q; it has %s", g.Name, o.Mode, strings.Join(slices.Concat(g.Modes, g.Refused), ", "))
	}
	takes, err := taken(m, o.Mode)
	if err != nil {
		return drawing{}, err
	}
	place := func(s *graph.State) string {
		if o.Expanded {
			return s.Name
		}
		return s.Node
	}
	var d drawing
	for i := range m.States {
		s := &m.States[i]
		if !takes.state[i] {
			continue
		}
		if name := place(s); !slices.ContainsFunc(d.nodes, func(n node) bool { return n.name == name }) {
			d.nodes = append(d.nodes, shape(m, s, name, o.Expanded))
		}
	}
	for i := range m.States {
		s := &m.States[i]
		for _, w := range ways(m, s, o.Expanded) {
			to := m.Index(w.to)
			if to < 0 || !takes.edge[[2]int{i, to}] {
				continue
			}
			d.add(place(s), place(&m.States[to]), w, o.Expanded)
		}
	}
	d.sort()
	return d, nil
}

// add draws a way, or adds its reason to the arrow that is there.
func (d *drawing) add(from, to string, w way, expanded bool) {
	if from == to && !expanded {
		return
	}
	i := slices.IndexFunc(d.edges, func(e edge) bool { return e.from == from && e.to == to })
	if i < 0 {
		i = len(d.edges)
		d.edges = append(d.edges, edge{from: from, to: to, fault: true})
	}
	e := &d.edges[i]
	e.fault = e.fault && w.fault
	if w.reason != "" && !slices.Contains(e.reasons, w.reason) {
		e.reasons = append(e.reasons, w.reason)
	}
}

// sort puts the arrows in the order of the nodes they leave, the ways of success before those of faults, "fault" after what it
// is named beside.
func (d *drawing) sort() {
	place := map[string]int{}
	for i, n := range d.nodes {
		place[n.name] = i
	}
	for i := range d.edges {
		slices.SortStableFunc(d.edges[i].reasons, func(a, b string) int { return rank(a == anyFault) - rank(b == anyFault) })
	}
	slices.SortStableFunc(d.edges, func(a, b edge) int {
		if by := place[a.from] - place[b.from]; by != 0 {
			return by
		}
		return rank(a.fault) - rank(b.fault)
	})
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// anyFault is the reason of a catch of States.ALL.
const anyFault = "fault"

func shape(m *graph.Machine, s *graph.State, name string, expanded bool) node {
	title, kind, tier := name, s.Kind, false
	if n := m.Node(name); n != nil && !expanded {
		kind, tier = n.Kind, n.Rank > 0
		if n.Title != "" {
			title = n.Title
		}
	}
	switch {
	case tier || (expanded && s.Rank > 0):
		return node{name, fmt.Sprintf("[[\"%s\"]]", title), "tier"}
	case kind == graph.Choice:
		return node{name, fmt.Sprintf("{\"%s\"}", title), ""}
	case kind == graph.Succeed:
		return node{name, fmt.Sprintf("([\"%s\"])", title), "good"}
	case kind == graph.Fail:
		return node{name, fmt.Sprintf("([\"%s\"])", title), "bad"}
	case s.Changes():
		return node{name, fmt.Sprintf("[\"%s\"]", title), "change"}
	}
	return node{name, fmt.Sprintf("[\"%s\"]", title), ""}
}
