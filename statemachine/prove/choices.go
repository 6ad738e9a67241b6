package prove

import (
	"encoding/json"
	"fmt"

	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/space"
)

// choices: a default, rules that are ordered or exclude each other, conditions that are the same in Go and rendered.
func (p *prover) choices(md *space.Model) {
	checked := map[string]bool{}
	for i := range p.m.States {
		s := &p.m.States[i]
		if s.Kind != graph.Choice {
			continue
		}
		if s.Default == "" {
			p.choiceFail(s, "%s has no default", s.Name)
		}
		if !s.Ordered {
			p.exclusive(md, s)
		}
		for _, r := range s.Rules {
			if text := fmt.Sprint(r.When); !checked[text] {
				checked[text] = true
				p.agrees(md, s, r.When)
			}
		}
	}
	for i := range p.sp.Configs {
		for _, e := range p.sp.Out[i] {
			if e.Outcome.Kind == space.NoPath {
				p.failAt(10, i, "%s reads %s, which may not be there", p.state(i).Name, e.Outcome.Name)
			}
		}
	}
}

func (p *prover) choiceFail(s *graph.State, format string, args ...any) {
	if at, ok := p.first[s.Name]; ok {
		p.failAt(10, at, format, args...)
		return
	}
	p.failf(10, format, args...)
}

func (p *prover) exclusive(md *space.Model, s *graph.State) {
	for a := range s.Rules {
		for b := a + 1; b < len(s.Rules); b++ {
			both := cond.All(s.Rules[a].When, s.Rules[b].When)
			cond.Assignments(both.Paths(), md.Domain, func(at map[cond.Path]cond.Value) bool {
				look := func(q cond.Path) cond.Value { return at[q] }
				x, errX := s.Rules[a].When.EvalAt(look)
				y, errY := s.Rules[b].When.EvalAt(look)
				if x && y && errX == nil && errY == nil {
					p.choiceFail(s, "%s is not ordered, and its rules to %s and %s hold together", s.Name, s.Rules[a].Next, s.Rules[b].Next)
					return false
				}
				return true
			})
		}
	}
}

// agrees compares a condition with its rendered rule on every assignment, missing values included.
func (p *prover) agrees(md *space.Model, s *graph.State, c cond.Cond) {
	rule, err := c.Rule()
	if err != nil {
		p.choiceFail(s, "%s: %v", s.Name, err)
		return
	}
	rendered, err := json.Marshal(rule)
	if err != nil {
		p.choiceFail(s, "%s: %v", s.Name, err)
		return
	}
	cond.Assignments(c.Paths(), md.Domain, func(at map[cond.Path]cond.Value) bool {
		var doc any = map[string]any{}
		for q, v := range at {
			if decoded, ok := v.JSON(); ok {
				if doc, err = cond.Set(doc, q, decoded); err != nil {
					return true // a value under a value: such a run cannot be
				}
			}
		}
		inGo, errGo := c.Eval(doc)
		byRule, errRule := cond.EvalRule(rendered, doc)
		abstract, errAt := c.EvalAt(func(q cond.Path) cond.Value { return at[q] })
		if inGo != byRule || inGo != abstract || (errGo == nil) != (errRule == nil) || (errGo == nil) != (errAt == nil) {
			p.choiceFail(s, "%s: %q is %t in Go and %t as the rule %s when %v", s.Name, c, inGo, byRule, rendered, at)
			return false
		}
		return true
	})
}
