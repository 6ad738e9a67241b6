// Package view shows a run to a person while it happens: each state, its time, and why it was left.
package view

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Live writes one line for every state that was left, and while a state is under way (on a terminal) a line that is
// overwritten. Await rounds of one state share a line.
type Live struct {
	W io.Writer
	// Terminal allows a line to be overwritten.
	Terminal bool
	// Quiet leaves out the states that only route.
	Quiet bool

	started time.Time
	// waiting is the state whose rounds are being counted, since is its first entry.
	waiting string
	since   time.Time
	rounds  int
}

// Event shows one event.
func (l *Live) Event(e walk.Event) {
	if l.started.IsZero() {
		l.started = e.At
	}
	if e.Type == graph.Choice && e.State == l.waiting+"Phase" {
		return // it only asks whether the state before it is done
	}
	switch e.Kind {
	case walk.Entered:
		if l.waiting != e.State {
			l.waiting, l.since, l.rounds = e.State, e.At, 0
		}
		l.rounds++
		if l.Terminal {
			fmt.Fprintf(l.W, "\r\x1b[K%8s  %s …", offset(e.At.Sub(l.started)), e.State)
		}
	case walk.Retried:
		l.line(e.At, "↻", e.State, 0, fmt.Sprintf("attempt %d: %s %s", e.Attempt, e.Reason, firstLine(e.Cause)))
	case walk.Caught:
		l.line(e.At, "✗", e.State, e.At.Sub(l.since), fmt.Sprintf("%s %s → %s", e.Reason, firstLine(e.Cause), e.Next))
	case walk.Exited:
		if run.Phase(e.Reason) == run.Running || l.routing(e) {
			return
		}
		why := e.Reason
		if d := detail(e); d != "" {
			why += "  " + d
		}
		l.line(e.At, mark(e), e.State, e.At.Sub(l.since), why)
	case walk.Ended:
		if e.Reason != "" && e.Type != graph.Succeed && e.Type != graph.Fail {
			l.line(e.At, "✗", e.State, e.At.Sub(l.since), e.Reason+" "+firstLine(e.Cause))
		}
		if l.Terminal {
			fmt.Fprint(l.W, "\r\x1b[K")
		}
	}
}

// Change shows a change before it is made.
func (l *Live) Change(i journal.Intent) {
	if l.Terminal {
		fmt.Fprint(l.W, "\r\x1b[K")
	}
	fmt.Fprintf(l.W, "%8s      %s %s: %s\n", "", i.Verb, i.Object, i.Why)
}

// routing states say nothing that the next state does not say.
func (l *Live) routing(e walk.Event) bool {
	switch e.Type {
	case graph.Pass:
		return true
	case graph.Choice:
		return !strings.HasPrefix(e.State, "ChooseTier")
	default:
		return false
	}
}

func (l *Live) line(at time.Time, mark, state string, took time.Duration, why string) {
	if l.Terminal {
		fmt.Fprint(l.W, "\r\x1b[K")
	}
	fmt.Fprintf(l.W, "%8s  %s %-34s %8s  %s\n", offset(at.Sub(l.started)), mark, state, short(took), why)
}

func mark(e walk.Event) string {
	if e.Type == graph.Choice {
		return "→"
	}
	switch run.Phase(e.Reason) {
	case run.Failed, run.Broken, run.Refused, run.NotReady, run.Incomplete, run.Unreadable, run.Busy:
		return "✗"
	default:
		return "✓"
	}
}

// detail is what a person wants to know of a section beyond its phase.
func detail(e walk.Event) string {
	if e.Type == graph.Choice {
		return "→ " + e.Next
	}
	var s struct {
		Reason, Message string
		Level           string
		Signals         signal.Set
		Checks          []run.Check
		Done, Found     []string
		DataRestored    []string
		Objects         int
		// Of backups and of restores by Velero.
		Name, Integrity string
		Asked           int
		Velero          *run.VeleroRestore
		Findings        json.RawMessage
	}
	if len(e.Section) == 0 || json.Unmarshal(e.Section, &s) != nil {
		return ""
	}
	var parts []string
	add := func(p string) {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if s.Integrity != "" {
		add(s.Name + ", integrity " + s.Integrity)
	}
	add(s.Level)
	add(s.Reason)
	add(firstLine(s.Message))
	for _, n := range signal.Names {
		if g, ok := s.Signals[n]; ok && g.Status != signal.True && g.Status != signal.NotApplicable {
			add(fmt.Sprintf("%s=%s (%s)", n, g.Status, g.Reason))
		}
	}
	if n := len(s.Checks); n > 0 {
		ok := 0
		for _, c := range s.Checks {
			if c.OK {
				ok++
			}
		}
		add(fmt.Sprintf("%d of %d checks passed", ok, n))
	}
	if s.Asked > 0 {
		add(fmt.Sprintf("%d objects asked about", s.Asked))
	}
	if v := s.Velero; v != nil && v.Phase != "" {
		add(fmt.Sprintf("Velero: %s, %d of %d items, %d errors", v.Phase, v.ItemsRestored, v.TotalItems, v.Errors))
		if v.DataDownloads > 0 {
			add(fmt.Sprintf("%d of %d DataDownloads done", v.DataDownloadsDone, v.DataDownloads))
		}
	}
	// A quarantine's findings are texts, which do not decode.
	var found []run.Finding
	if json.Unmarshal(s.Findings, &found) == nil && len(found) > 0 {
		add(fmt.Sprintf("%d findings", len(found)))
	}
	if len(s.Done) > 0 {
		add(strings.Join(s.Done, "; "))
	}
	if len(s.DataRestored) > 0 {
		add("data back: " + strings.Join(s.DataRestored, ", "))
	}
	return strings.Join(parts, " · ")
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func offset(d time.Duration) string { return fmt.Sprintf("+%.2fs", d.Seconds()) }

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	if d >= 10*time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.2fs", d.Seconds())
}
