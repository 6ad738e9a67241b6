package prove

import (
	"slices"

	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/space"
)

// explore visits the product and checks every invariant that speaks of paths.
func (p *prover) explore(md *space.Model) {
	if len(p.m.States) > maxStates {
		p.failf(1, "the graph has %d states, more than the %d that the proof can hold", len(p.m.States), maxStates)
		return
	}
	p.sp = space.Explore(md, slices.Concat(p.m.Modes, p.m.Refused), facts{}, p.enter, p.leave)
	p.first = map[string]int{}
	for i := range p.sp.Configs {
		if name := p.state(i).Name; !p.seen(name) {
			p.first[name] = i
		}
	}
	p.reachable()
	for i := range p.sp.Configs {
		p.descends(i)
		p.quarantine(i)
		p.dominated(i)
		p.gated(i)
		p.bounded(i)
		p.reported(i)
	}
	p.compensations()
	p.times()
}

func (p *prover) state(config int) *graph.State { return &p.m.States[p.sp.Configs[config].State] }

// ended is the outcome a run ended with, or the state when it has none.
func (p *prover) ended(config int) string {
	if o := p.sp.Configs[config].Facts.outcome; o != "" {
		return o
	}
	return p.state(config).Name
}

func (p *prover) seen(name string) bool { _, ok := p.first[name]; return ok }

// has tells whether a state has an effect of one of the kinds in a mode.
func has(s *graph.State, mode string, kinds ...graph.EffectKind) bool {
	return slices.ContainsFunc(s.Effects, func(e graph.Effect) bool { return e.In(mode) && slices.Contains(kinds, e.Kind) })
}

// reachable: every target exists, every state is reachable, every configuration can end.
func (p *prover) reachable() {
	for i := range p.sp.Configs {
		for _, to := range p.state(i).Targets() {
			if p.m.Index(to) < 0 {
				p.failAt(1, i, "%s leads to %s, which does not exist", p.state(i).Name, to)
			}
		}
		if s := p.state(i); !s.Terminal() && len(s.Targets()) == 0 {
			p.failAt(1, i, "%s leads nowhere and is no end", s.Name)
		}
	}
	if p.m.Index(p.m.Start) < 0 {
		p.failf(1, "the start, %s, does not exist", p.m.Start)
	}
	for i := range p.m.States {
		if !p.seen(p.m.States[i].Name) {
			p.failf(1, "%s cannot be reached", p.m.States[i].Name)
		}
	}
	ends := p.sp.Reaches(func(i int) bool {
		return p.sp.Terminal(i) || slices.ContainsFunc(p.sp.Out[i], func(e space.Edge) bool { return e.To < 0 })
	})
	for i, ok := range ends {
		if !ok {
			p.failAt(1, i, "from %s no end can be reached", p.state(i).Name)
		}
	}
}

func (p *prover) descends(i int) {
	if c := p.sp.Configs[i]; c.Facts.rose && has(p.state(i), c.Mode, graph.EntersTier) {
		p.failAt(2, i, "%s is entered from a tier that is not above it", p.state(i).Name)
	}
}

func (p *prover) quarantine(i int) {
	c, s := p.sp.Configs[i], p.state(i)
	if c.Facts.quarantine != verified {
		if has(s, c.Mode, graph.Degrades) {
			p.failAt(3, i, "%s runs a degraded workload outside a verified quarantine", s.Name)
		}
		if c.Mode == modeDrill && has(s, c.Mode, graph.Restores) {
			p.failAt(3, i, "%s restores outside a verified quarantine in a drill", s.Name)
		}
	}
	if s.Terminal() && c.Facts.sealed && c.Facts.outcome != outDirty {
		p.failAt(3, i, "a run ends %s with its quarantine still there", p.ended(i))
	}
}

// dominated: lease, journal and rollback point come before every change.
func (p *prover) dominated(i int) {
	c, s := p.sp.Configs[i], p.state(i)
	for _, e := range s.Effects {
		exempt := e.Kind == graph.TakesLease || e.Kind == graph.ReleasesLease || e.Kind == graph.TakesSnapshots
		if !e.In(c.Mode) || !e.Kind.Change() || exempt {
			continue
		}
		switch {
		case c.Facts.lease != leaseHeld:
			p.failAt(4, i, "%s %s without the lease", s.Name, e.Kind)
		case !c.Facts.journal:
			p.failAt(4, i, "%s %s without a journal", s.Name, e.Kind)
		case !c.Facts.point:
			p.failAt(4, i, "%s %s without a rollback point", s.Name, e.Kind)
		}
	}
	undone := c.Facts.outcome == outAborted || c.Facts.outcome == outRolledBack || c.Facts.outcome == ""
	if s.Terminal() && undone && !c.Facts.changes.empty() {
		p.failAt(4, i, "a run ends %s with the changes of %s not undone", p.ended(i), p.some(c.Facts.changes))
	}
}

func (p *prover) some(set stateSet) string {
	for i := range p.m.States {
		if set.has(i) {
			return p.m.States[i].Name
		}
	}
	return "no state"
}

// compensations: each change names one, and can reach it from every way out that is not for a person to mend.
func (p *prover) compensations() {
	for si := range p.m.States {
		s := &p.m.States[si]
		for _, e := range s.Effects {
			if !e.Kind.NeedsUndo() {
				continue
			}
			if len(e.Undo) == 0 {
				at, ok := p.first[s.Name]
				if !ok {
					at = 0
				}
				p.failAt(4, at, "%s %s and names no compensation", s.Name, e.Kind)
				continue
			}
			p.compensated(si, e)
		}
	}
}

func (p *prover) compensated(si int, e graph.Effect) {
	can := p.sp.Reaches(func(i int) bool { return has(p.state(i), p.sp.Configs[i].Mode, e.Undo...) })
	for i, c := range p.sp.Configs {
		if c.State != si || !e.In(c.Mode) {
			continue
		}
		for _, edge := range p.sp.Out[i] {
			if edge.To < 0 || can[edge.To] || p.forAPerson(si, edge.Outcome) {
				continue
			}
			f := Failure{Message: p.m.States[si].Name + " " + string(e.Kind) + " and cannot reach a compensation after " + edge.Outcome.Name, Mode: c.Mode}
			f.Witness = witness(append(drop(p.sp.Path(i)), space.Step{State: p.m.States[si].Name, Outcome: edge.Outcome}, space.Step{State: edge.Outcome.Next}))
			p.fail(4, f)
		}
	}
}

func drop(path []space.Step) []space.Step { return path[:len(path)-1] }

// forAPerson tells whether an outcome is a fault of the class Dirty, after which nobody but a person may go on.
func (p *prover) forAPerson(si int, o space.Outcome) bool {
	if o.Kind != space.Fault {
		return false
	}
	for _, code := range p.m.States[si].Catch[o.Catch].Errors {
		if !slices.Contains(p.in.Codes.Dirty, code) {
			return false
		}
	}
	return true
}

func (p *prover) gated(i int) {
	c, s := p.sp.Configs[i], p.state(i)
	if s.Kind == graph.Pass && !c.Facts.gate && p.leave(c.State, c.Mode, c.Facts, space.Outcome{}).outcome == outRecovered {
		p.failAt(5, i, "%s says Recovered without a passed gate", s.Name)
	}
	if has(s, c.Mode, graph.ShiftsTraffic) && !c.Facts.gate {
		p.failAt(5, i, "%s shifts traffic without a passed gate", s.Name)
	}
	if !s.Terminal() {
		return
	}
	if t := c.Facts.traffic; t == trafficShifted || (t == trafficReverting && c.Facts.outcome != outDirty) {
		p.failAt(5, i, "a run ends %s with traffic shifted and neither verified nor reverted", p.ended(i))
	}
}

// bounded: what a mode must not reach.
func (p *prover) bounded(i int) {
	c, s := p.sp.Configs[i], p.state(i)
	served := slices.Contains(p.m.Modes, c.Mode)
	for _, e := range s.Effects {
		if !e.In(c.Mode) {
			continue
		}
		switch {
		case !served && e.Kind.Change():
			p.failAt(6, i, "%s %s in mode %s, which is refused", s.Name, e.Kind, c.Mode)
		case c.Mode == modeEvaluate && e.Kind.Change():
			p.failAt(6, i, "%s %s in evaluate", s.Name, e.Kind)
		case c.Mode == modeDrill && slices.Contains(notInADrill(), e.Kind):
			p.failAt(6, i, "%s %s in a drill", s.Name, e.Kind)
		}
	}
	if s.Terminal() && c.Mode == modeDrill && !c.Facts.torn.empty() && c.Facts.outcome != outDirty {
		p.failAt(6, i, "a drill ends %s with the changes of %s not torn down", p.ended(i), p.some(c.Facts.torn))
	}
}

func notInADrill() []graph.EffectKind {
	return []graph.EffectKind{graph.ChangesSource, graph.ShiftsTraffic, graph.VerifiesTraffic, graph.RevertsTraffic,
		graph.Fences, graph.Unfences, graph.Promotes, graph.DemotesStorage}
}

func (p *prover) reported(i int) {
	c, s := p.sp.Configs[i], p.state(i)
	if !s.Terminal() {
		return
	}
	if c.Facts.admitted && !c.Facts.reported {
		p.failAt(7, i, "a run ends %s without a report", p.ended(i))
	}
	if l := c.Facts.lease; (l == leaseMaybe || l == leaseHeld) && c.Facts.outcome != outDirty {
		p.failAt(7, i, "a run ends %s and keeps the lease", p.ended(i))
	}
}
