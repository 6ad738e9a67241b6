package prove

import (
	"slices"
	"strings"

	"fallbackchain.io/fallback/statemachine/graph"
)

// tasks: every task has a timeout, a retry for service errors, and a last States.ALL.
func (p *prover) tasks() {
	for i := range p.m.States {
		s := &p.m.States[i]
		if s.Kind != graph.Task {
			continue
		}
		if s.Timeout <= 0 {
			p.failf(8, "%s has no timeout", s.Name)
		}
		approval := slices.ContainsFunc(s.Effects, func(e graph.Effect) bool { return e.Kind == graph.AsksApproval })
		for _, name := range p.m.ServiceRetry.Errors {
			retried := slices.ContainsFunc(s.Retry, func(r graph.Retry) bool { return r.MaxAttempts > 0 && slices.Contains(r.Errors, name) })
			if !retried && !approval {
				p.failf(8, "%s does not retry %s", s.Name, name)
			}
		}
		if approval && len(s.Retry) > 0 {
			p.failf(8, "%s asks for approval and is retried", s.Name)
		}
		last := len(s.Catch) - 1
		if last < 0 || !slices.Equal(s.Catch[last].Errors, []string{graph.AllErrors}) {
			p.failf(8, "%s has no last catch of States.ALL", s.Name)
		}
		for n, c := range s.Catch {
			if n != last && slices.Contains(c.Errors, graph.AllErrors) {
				p.failf(8, "%s catches States.ALL before its last catch", s.Name)
			}
		}
	}
	if len(p.m.ServiceRetry.Errors) == 0 {
		p.failf(8, "no service error is retried")
	}
}

// maxName is the longest legal name of a state or execution
// (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
const maxName = 80

func (p *prover) names() {
	check := func(name string) {
		switch {
		case name == "":
			p.failf(9, "a name is empty")
		case len(name) > maxName:
			p.failf(9, "the name %s has %d characters, more than %d", name, len(name), maxName)
		case strings.ContainsAny(name, " <>{}[]?*\"#%\\^|~`$&,;:/") || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r > 0x7e }):
			p.failf(9, "the name %q has a character that is not legal", name)
		}
	}
	check(p.m.Name)
	for i := range p.m.States {
		check(p.m.States[i].Name)
	}
}

// sides: functions and fault codes are the same on both sides.
func (p *prover) sides() {
	called := slices.Concat(p.m.Functions(), p.m.Outside)
	p.compare("function %s is called by the graph but does not exist", called, p.in.Functions)
	p.compare("function %s exists but is neither called by the graph nor outside it", p.in.Functions, called)
	if p.in.Template != nil {
		p.compare("function %s exists but template.yaml does not name it", p.in.Functions, p.in.Template)
		p.compare("template.yaml names function %s, which does not exist", p.in.Template, p.in.Functions)
	}
	c := p.in.Codes
	known := slices.Concat(c.Retry, c.Demote, c.Rollback, c.Abort, c.Dirty)
	var named []string
	for i := range p.m.States {
		s := &p.m.States[i]
		var retried []string
		for _, r := range s.Retry {
			retried = append(retried, r.Errors...)
		}
		for _, code := range c.Retry {
			if s.Kind == graph.Task && len(s.Retry) > 0 && !slices.Contains(retried, code) {
				p.failf(11, "%s does not retry fault %s, whose class is Retry", s.Name, code)
			}
		}
		named = append(named, retried...)
		for _, k := range s.Catch {
			named = append(named, k.Errors...)
		}
	}
	p.compare("fault %s is caught nowhere by its name", known, named)
	for _, n := range named {
		if !strings.Contains(n, ".") && !slices.Contains(known, n) {
			p.failf(11, "the graph catches %s, which is no fault code", n)
		}
	}
}

// compare fails for each name of a that is not in b.
func (p *prover) compare(message string, a, b []string) {
	for _, name := range a {
		if !slices.Contains(b, name) {
			p.failf(11, message, name)
		}
	}
}
