package prove

import (
	"slices"

	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/space"
)

// The modes and outcomes that invariants speak of.
const (
	modeEvaluate = "evaluate"
	modeDrill    = "drill"

	outRecovered  = "Recovered"
	outRolledBack = "RolledBack"
	outAborted    = "Aborted"
	outDirty      = "Dirty"
)

// The lease as far as it is known.
const (
	leaseNone = iota
	leaseMaybe
	leaseHeld
	leaseReleased
)

// The quarantine as far as it is known.
const (
	openWide = iota
	isolated
	verified
)

// Traffic as far as it is known.
const (
	trafficStill = iota
	trafficShifted
	trafficVerified
	trafficReverting
	trafficReverted
)

// facts are what a path has made true. They are comparable: two paths with the same facts are one configuration.
type facts struct {
	lease, quarantine, traffic uint8
	journal, point, gate       bool
	// sealed: an isolation was begun and not ended.
	sealed bool
	// tier is the rank of the tier entered last; rose: it was entered from one not above it.
	tier int8
	rose bool
	// changes are the states, by place, whose changes are not compensated; torn are those not torn down.
	changes, torn stateSet
	admitted      bool
	reported      bool
	outcome       string
}

// stateSet is a set of up to 128 states by place.
type stateSet [2]uint64

func (s stateSet) with(i int) stateSet {
	s[i/64%2] |= 1 << (i % 64)
	return s
}

func (s stateSet) without(o stateSet) stateSet { return stateSet{s[0] &^ o[0], s[1] &^ o[1]} }

func (s stateSet) empty() bool { return s == stateSet{} }

func (s stateSet) has(i int) bool { return s[i/64%2]&(1<<(i%64)) != 0 }

// maxStates is how many states the sets hold.
const maxStates = 128

// enter tells what is true once a state has begun: a change may have happened from here on.
func (p *prover) enter(i int, mode string, f facts) facts {
	s := &p.m.States[i]
	if start, ok := p.m.State(p.m.Start); ok && s.Kind == graph.Task && s.Function != start.Function {
		f.admitted = true
	}
	for _, e := range s.Effects {
		if !e.In(mode) {
			continue
		}
		switch e.Kind {
		case graph.TakesLease:
			f.lease = max(f.lease, leaseMaybe)
		case graph.Isolates:
			f.quarantine, f.sealed = isolated, true
		case graph.LiftsIsolation:
			f.quarantine = openWide
		case graph.EntersTier:
			if f.tier != 0 && int8(s.Rank) >= f.tier {
				f.rose = true
			}
			f.tier, f.gate = int8(s.Rank), false
		case graph.Restores, graph.RollsBack:
			f.gate = false
		case graph.ShiftsTraffic:
			f.traffic = trafficShifted
		case graph.RevertsTraffic:
			f.traffic = trafficReverting
		case graph.Reports:
			f.reported = true
		}
		if e.Kind.NeedsUndo() && len(e.Undo) > 0 && e.Kind != graph.ShiftsTraffic { // traffic has a fact of its own
			f.changes, f.torn = f.changes.with(i), f.torn.with(i)
		}
	}
	return f
}

// leave tells what is true after an outcome.
func (p *prover) leave(i int, mode string, f facts, o space.Outcome) facts {
	s := &p.m.States[i]
	if s.Kind == graph.Pass {
		if names := p.m.Outcome.Names(); len(names) > 0 && s.Result != nil && s.ResultPath.Join(names[len(names)-1]) == p.m.Outcome {
			f.outcome = s.Result[names[len(names)-1]]
		}
	}
	for _, e := range s.Effects {
		if !e.In(mode) || !gives(e, o) {
			continue
		}
		switch e.Kind {
		case graph.TakesLease:
			f.lease = leaseHeld
		case graph.ReleasesLease:
			f.lease = leaseReleased
		case graph.OpensJournal:
			f.journal = true
		case graph.CapturesRollbackPoint:
			f.point = true
		case graph.VerifiesIsolation:
			f.quarantine = verified
		case graph.LiftsIsolation:
			f.sealed = false
		case graph.PassesGate:
			f.gate = true
		case graph.RollsBack, graph.TearsDown:
			f.sealed, f.quarantine = false, openWide
		case graph.VerifiesTraffic:
			f.traffic = trafficVerified
		case graph.RevertsTraffic:
			f.traffic = trafficReverted
		}
		done := p.undoneBy(e.Kind, mode)
		f.changes = f.changes.without(done)
		if e.Kind == graph.TearsDown {
			f.torn = f.torn.without(done)
		}
	}
	return f
}

// gives tells whether an outcome gives an effect: a phase it names, or any answer when it names none.
func gives(e graph.Effect, o space.Outcome) bool {
	if e.OnEntry() {
		return o.Kind != space.Fault
	}
	return o.Kind == space.Phase && e.Gives(o.Name)
}

// undoneBy are the states that name a compensation.
func (p *prover) undoneBy(k graph.EffectKind, mode string) stateSet {
	var out stateSet
	for i := range p.m.States {
		for _, e := range p.m.States[i].Effects {
			if e.In(mode) && slices.Contains(e.Undo, k) {
				out = out.with(i)
			}
		}
	}
	return out
}
