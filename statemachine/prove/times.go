package prove

import (
	"math"
	"slices"
	"time"

	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/space"
)

// MaxEvents is how many events the history of an execution may have
// (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html, "Maximum execution history size").
const MaxEvents = 25_000

// Worst is the longest an execution can take and the most history it can write, when every budget is at its cap.
type Worst struct {
	Mode string
	Time time.Duration
	// Path is the path that takes the longest.
	Path   []string
	Events int
}

// cost of one visit of a state.
type cost struct {
	time   time.Duration
	events int
}

func (p *prover) times() {
	t := p.m.Timing
	if t.Slice <= 0 || t.Slice >= t.Function {
		p.failf(9, "a slice of %s is not below the function timeout of %s", t.Slice, t.Function)
	}
	if t.MinRound <= 0 || t.MinRound > t.Slice {
		p.failf(9, "the shortest round of %s is not within a slice of %s", t.MinRound, t.Slice)
	}
	for i := range p.m.States {
		if s := &p.m.States[i]; s.Kind == graph.Task && s.Timeout > 0 && t.Function >= s.Timeout {
			p.failf(9, "%s: the function timeout of %s is not below the task timeout of %s", s.Name, t.Function, s.Timeout)
		}
	}
	if t.Lease <= t.Machine {
		p.failf(9, "a lease of %s is not longer than the machine timeout of %s", t.Lease, t.Machine)
	}
	if len(p.failures[0]) > 0 {
		return // without rule 1 there may be no longest path
	}
	for _, mode := range p.m.Modes {
		w := p.longest(mode)
		if w.Time > p.worst.Time {
			p.worst.Mode, p.worst.Time, p.worst.Path = w.Mode, w.Time, w.Path
		}
		p.worst.Events = max(p.worst.Events, w.Events)
	}
	if p.worst.Time > t.Machine {
		f := Failure{Message: "the worst path takes " + p.worst.Time.String() + ", longer than the machine timeout of " + t.Machine.String(), Mode: p.worst.Mode}
		for _, s := range p.worst.Path {
			f.Witness = append(f.Witness, Step{State: s})
		}
		p.fail(9, f)
	}
	if p.worst.Events >= MaxEvents {
		p.failf(9, "the worst history has %d events; fewer than %d are allowed", p.worst.Events, MaxEvents)
	}
}

// visit is the cost of one visit of a state; an Await's is that of all its rounds, its choice included.
func (p *prover) visit(s *graph.State) cost {
	switch s.Kind {
	case graph.Task:
	case graph.Wait:
		return cost{p.m.Caps[s.Budget], 2}
	case graph.Succeed, graph.Fail:
		return cost{0, 3}
	default:
		return cost{0, 2}
	}
	tries := 1
	c := cost{events: 2}
	for _, r := range s.Retry {
		tries += r.MaxAttempts
		for n := range r.MaxAttempts {
			delay := time.Duration(float64(r.Interval) * math.Pow(r.Backoff, float64(n)))
			if r.MaxDelay > 0 {
				delay = min(delay, r.MaxDelay)
			}
			c.time += delay
		}
	}
	c.time += time.Duration(tries) * s.Timeout
	c.events += 3 * tries
	if !s.Awaits {
		return c
	}
	// The last round may begin just before the deadline.
	limit := p.m.Caps[s.Budget]
	rounds := 1
	if p.m.Timing.MinRound > 0 {
		rounds += int((limit + p.m.Timing.MinRound - 1) / p.m.Timing.MinRound)
	}
	return cost{limit + c.time, rounds * (c.events + 2)}
}

// longest finds the longest path and the longest history of a mode over the configurations that its runs reach.
func (p *prover) longest(mode string) Worst {
	type best struct {
		cost
		via  int
		done bool
	}
	memo := make([]best, len(p.sp.Configs))
	var walk func(int) best
	walk = func(i int) best {
		if memo[i].done {
			return memo[i]
		}
		b := best{via: -1, done: true}
		for _, e := range p.sp.Out[i] {
			if e.To < 0 || p.again(i, e.To) {
				continue
			}
			t := walk(e.To)
			if b.via < 0 || t.time > b.time {
				b.time, b.via = t.time, e.To
			}
			b.events = max(b.events, t.events)
		}
		own := p.visit(p.state(i))
		b.time += own.time
		b.events += own.events
		memo[i] = b
		return b
	}
	start := slices.IndexFunc(p.sp.Configs, func(c space.Config[facts]) bool { return c.Mode == mode })
	if start < 0 {
		return Worst{Mode: mode}
	}
	b := walk(start)
	w := Worst{Mode: mode, Time: b.time, Events: b.events + 1}
	for i := start; i >= 0; i = memo[i].via {
		w.Path = append(w.Path, p.state(i).Name)
	}
	return w
}

// again tells whether an edge is an Await coming back, which is in the Await's own cost.
func (p *prover) again(from, to int) bool {
	s := p.state(to)
	return s.Awaits && s.Next == p.state(from).Name
}
