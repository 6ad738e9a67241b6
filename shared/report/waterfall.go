package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// Segment is one part of the RTO. It begins where the one before it ends.
type Segment struct {
	Name string `json:"name"`
	// With are parts whose end was not recorded: their time is in this one.
	With      []string      `json:"with,omitempty"`
	StartedAt time.Time     `json:"startedAt"`
	Seconds   float64       `json:"seconds"`
	Duration  time.Duration `json:"durationNs"`
}

// Label is the name with what it holds besides.
func (s Segment) Label() string {
	if len(s.With) == 0 {
		return s.Name
	}
	return fmt.Sprintf("%s (with %s)", s.Name, list(s.With))
}

// Waterfall is the RTO in parts. Their durations add up to it exactly.
type Waterfall struct {
	From     time.Time     `json:"from"`
	Total    time.Duration `json:"totalNs"`
	Segments []Segment     `json:"segments"`
	// Notes say what was left out, merged or out of order.
	Notes []string `json:"notes,omitempty"`
}

// Names of the parts, beside those of the tiers.
const (
	Detect         = "Detect"
	Decide         = "Decide"
	Isolate        = "Isolate"
	RestoreObjects = "Restore objects"
	Volumes        = "Volumes"
	Bound          = "Bound"
	Scheduled      = "Scheduled"
	BecomeReady    = "Ready"
	GatePart       = "Gate"
)

// mark is where a part ends; the zero time: not recorded.
type mark struct {
	name string
	end  time.Time
}

// waterfall splits the time from detection to the passed gate; nil when no gate passed.
func waterfall(r run.Run, vs []Visit) *Waterfall {
	if r.Gate == nil || r.Gate.PassedAt == nil {
		return nil
	}
	from, to, note := span(r)
	w := &Waterfall{From: from, Total: to.Sub(from)}
	marks, notes := marksOf(r, vs)
	var order []string
	w.Segments, order = cut(from, to, marks)
	if note != "" {
		w.Notes = append(w.Notes, note)
	}
	w.Notes = append(append(w.Notes, notes...), order...)
	return w
}

// span is what the RTO is measured over: from detection to the passed gate.
func span(r run.Run) (from, to time.Time, note string) {
	from, to = r.Trigger.At, *r.Gate.PassedAt
	if !from.IsZero() && !from.After(to) {
		return from, to, ""
	}
	const why = "The trigger's time is unknown or lies after the gate: the RTO counts from the start of the run."
	if r.StartedAt.After(to) {
		return to, to, why
	}
	return r.StartedAt, to, why
}

// cut makes the segments. A mark that was not recorded leaves its time to the next one; a mark outside what is left is moved to its
// edge, and said. The last segment ends at the end.
func cut(from, to time.Time, marks []mark) (out []Segment, notes []string) {
	var with, moved []string
	at := from
	for i, m := range marks {
		end, last := m.end, i == len(marks)-1
		switch {
		case last:
			end = to
		case end.IsZero():
			with = append(with, m.name)
			continue
		case end.Before(at):
			moved = append(moved, fmt.Sprintf("%s (%s before what comes before it)", m.name, round(at.Sub(end))))
			end = at
		case end.After(to):
			moved = append(moved, fmt.Sprintf("%s (%s after the gate)", m.name, round(end.Sub(to))))
			end = to
		}
		d := end.Sub(at)
		out = append(out, Segment{Name: m.name, With: with, StartedAt: at, Seconds: d.Seconds(), Duration: d})
		at, with = end, nil
	}
	for _, s := range out {
		if len(s.With) > 0 {
			notes = append(notes, fmt.Sprintf("Not recorded apart: %s; the time is in %s.", list(s.With), s.Name))
		}
	}
	if len(moved) > 0 {
		notes = append(notes, "Ended out of order, and cut to fit: "+list(moved)+".")
	}
	return out, notes
}

// segmentOf names the part of the RTO that a function's work between deciding and the gate belongs to.
var segmentOf = map[string]string{
	"quarantine/apply": Isolate, "quarantine/check": Isolate, "restore/start": RestoreObjects, "restore/await": RestoreObjects,
	"volumesync/start": "VolumeAttachmentSync", "volumesync/await": "VolumeAttachmentSync",
	"controlplane/start": "ControlPlaneReconcile", "controlplane/await": "ControlPlaneReconcile",
	"degraded/start": "DegradedStatefulSet", "degraded/await": "DegradedStatefulSet",
}

// marksOf lists the parts in the order in which the run went through them. An assessment belongs to the part that it led to.
func marksOf(r run.Run, vs []Visit) (marks []mark, notes []string) {
	detected, decided := r.StartedAt, time.Time{}
	ends := map[string]time.Time{}
	var names []string
	for _, v := range vs {
		end := v.StartedAt.Add(v.Duration)
		name := segmentOf[v.Function+"/"+v.Op]
		if v.Function == "admit" {
			detected = end
		}
		if decided.IsZero() && (name != "" || v.Function == "gate") {
			decided = v.StartedAt
		}
		switch {
		case name != "":
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			ends[name] = end
		case v.Function == "gate" && v.Op == "ready":
			ends[GatePart] = end
		}
	}
	marks = []mark{{Detect, detected}, {Decide, decided}}
	if r.Restore != nil && !slices.Contains(names, RestoreObjects) {
		names = append(names, RestoreObjects)
	}
	for _, n := range names {
		if n == RestoreObjects && r.Restore != nil {
			marks = append(marks, restored(*r.Restore, ends[n])...)
			continue
		}
		marks = append(marks, mark{n, ends[n]})
	}
	if r.Restore == nil {
		notes = append(notes, "The workload was repaired in place: bringing back objects and volumes, binding and scheduling are in the tiers' own parts.")
		ready := ends[GatePart]
		if r.Gate.StableSince != nil {
			ready = *r.Gate.StableSince
		}
		marks = append(marks, mark{BecomeReady, ready})
	}
	return append(marks, mark{GatePart, *r.Gate.PassedAt}), notes
}

// restored are the marks of a restore; end is when it was waited for no longer, which is when the pods were ready.
func restored(s run.Restore, end time.Time) []mark {
	var volumes *time.Time
	if s.Velero != nil {
		volumes = s.Velero.CompletedAt
		// Velero's times have whole seconds: one that seems to lie before the objects' own, which were seen to the millisecond, does not.
		if o := s.ObjectsAt; volumes != nil && o != nil && volumes.Before(*o) && o.Sub(*volumes) < time.Second {
			volumes = o
		}
	}
	ready := or(s.ReadyAt)
	if ready.IsZero() {
		ready = end
	}
	return []mark{{RestoreObjects, or(s.ObjectsAt)}, {Volumes, or(volumes)}, {Bound, or(s.VolumesAt)}, {Scheduled, or(s.ScheduledAt)}, {BecomeReady, ready}}
}

func or(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// list joins names as a sentence does.
func list(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// barWidth is the waterfall's width in characters.
const barWidth = 40

// bar draws a segment as text.
func (w Waterfall) bar(s Segment) string {
	if w.Total <= 0 {
		return strings.Repeat("░", barWidth)
	}
	at := func(d time.Duration) int { return int(float64(d) / float64(w.Total) * barWidth) }
	begin := at(s.StartedAt.Sub(w.From))
	end := at(s.StartedAt.Sub(w.From) + s.Duration)
	if s.Duration > 0 && end == begin {
		end = min(begin+1, barWidth)
		begin = end - 1
	}
	return strings.Repeat("░", begin) + strings.Repeat("█", end-begin) + strings.Repeat("░", barWidth-end)
}
