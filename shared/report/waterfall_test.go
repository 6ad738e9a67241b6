package report

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"fallbackchain.io/fallback/shared/run"
)

// addsUp holds a waterfall against what it must be whatever was recorded.
func addsUp(t *testing.T, w *Waterfall, total time.Duration) {
	t.Helper()
	if w == nil || len(w.Segments) == 0 || w.Total != total || total < 0 {
		t.Fatalf("%+v: expected segments of %s", w, total)
	}
	sum, at := time.Duration(0), w.From
	for _, s := range w.Segments {
		if s.Duration < 0 || !s.StartedAt.Equal(at) {
			t.Fatalf("%s begins at %s and takes %s: expected it to begin at %s, where the one before it ends", s.Name, s.StartedAt, s.Duration, at)
		}
		if n := utf8.RuneCountInString(w.bar(s)); n != barWidth {
			t.Fatalf("%s: a bar of %d characters", s.Name, n)
		}
		sum, at = sum+s.Duration, at.Add(s.Duration)
	}
	if sum != total {
		t.Fatalf("the segments add up to %s, the RTO is %s: %+v", sum, total, w.Segments)
	}
}

// TestTheSegmentsAddUpToTheRTO draws runs whose times are missing, out of order, before the trigger or after the gate.
func TestTheSegmentsAddUpToTheRTO(t *testing.T) {
	calls := []string{"admit/admit", "admit/confirm", "lease/acquire", "backup/choose", "rollbackpoint/capture", "backup/rehearse", "quarantine/apply", "quarantine/check",
		"restore/start", "restore/await", "assess/assess", "volumesync/start", "volumesync/await", "controlplane/start", "controlplane/await", "degraded/start",
		"degraded/await", "gate/ready", "gate/transaction", "quarantine/lift", "teardown/start"}
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 1))
		when := func() time.Time { return start.Add(time.Duration(r.Int64N(int64(2*time.Hour))) - time.Hour) }
		maybe := func() *time.Time {
			if r.IntN(3) == 0 {
				return nil
			}
			v := when()
			return &v
		}
		passed := when()
		x := run.Run{Trigger: run.Trigger{At: or(maybe())}, StartedAt: when(), Gate: &run.Gate{PassedAt: &passed, StableSince: maybe()}}
		if r.IntN(2) == 0 {
			x.Restore = &run.Restore{ObjectsAt: maybe(), VolumesAt: maybe(), ScheduledAt: maybe(), ReadyAt: maybe()}
			if r.IntN(2) == 0 {
				x.Restore.Velero = &run.VeleroRestore{CompletedAt: maybe()}
			}
		}
		var vs []Visit
		for _, c := range calls {
			if r.IntN(3) > 0 {
				function, op, _ := strings.Cut(c, "/")
				vs = append(vs, Visit{Function: function, Op: op, StartedAt: when(), Duration: time.Duration(r.Int64N(int64(time.Hour)))})
			}
		}
		if r.IntN(4) == 0 {
			r.Shuffle(len(vs), func(i, j int) { vs[i], vs[j] = vs[j], vs[i] })
		}
		rep := Build(Input{Run: x, Visits: vs, Now: when()})
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if rep.RTO == nil {
				t.Fatal("there is no RTO")
			}
			addsUp(t, rep.Waterfall, rep.RTO.Measured)
			if at := x.Trigger.At; !at.IsZero() && !at.After(passed) && rep.RTO.Measured != passed.Sub(at) {
				t.Fatalf("the RTO is %s: expected from detection to the gate, %s", rep.RTO.Measured, passed.Sub(at))
			}
		})
	}
}

func TestSegments(t *testing.T) {
	names := func(w *Waterfall) string {
		var out []string
		for _, s := range w.Segments {
			out = append(out, fmt.Sprintf("%s %s", s.Label(), s.Duration))
		}
		return strings.Join(out, ", ")
	}
	when := func(ms int) *time.Time { v := at(ms); return &v }
	visit := func(function, op string, from, to int) Visit {
		return Visit{Function: function, Op: op, StartedAt: at(from), Duration: time.Duration(to-from) * time.Millisecond}
	}
	admitted, restored := visit("admit", "admit", 0, 100), visit("restore", "await", 400, 900)
	for name, c := range map[string]struct {
		run    run.Run
		visits []Visit
		want   string
		notes  []string
	}{
		"a restore whose every time is known": {
			run.Run{Restore: &run.Restore{ObjectsAt: when(500), VolumesAt: when(700), ScheduledAt: when(750), ReadyAt: when(800), Velero: &run.VeleroRestore{CompletedAt: when(600)}}},
			[]Visit{admitted, visit("lease", "acquire", 150, 200), visit("quarantine", "check", 300, 400), restored},
			"Detect 100ms, Decide 200ms, Isolate 100ms, Restore objects 100ms, Volumes 100ms, Bound 100ms, Scheduled 50ms, Ready 50ms, Gate 200ms", nil},
		"Velero's own time has whole seconds": {
			run.Run{Restore: &run.Restore{ObjectsAt: when(500), VolumesAt: when(700), ScheduledAt: when(750), ReadyAt: when(800), Velero: &run.VeleroRestore{CompletedAt: when(0)}}},
			[]Visit{admitted, visit("lease", "acquire", 150, 200), visit("quarantine", "check", 300, 400), restored},
			"Detect 100ms, Decide 200ms, Isolate 100ms, Restore objects 100ms, Volumes 0s, Bound 200ms, Scheduled 50ms, Ready 50ms, Gate 200ms", nil},
		"a restore that recorded nothing": {
			run.Run{Restore: &run.Restore{}}, []Visit{admitted, visit("quarantine", "check", 300, 400), restored},
			"Detect 100ms, Decide 200ms, Isolate 100ms, Ready (with Restore objects, Volumes, Bound and Scheduled) 500ms, Gate 100ms",
			[]string{"Not recorded apart: Restore objects, Volumes, Bound and Scheduled; the time is in Ready."}},
		"times out of order": {
			run.Run{Restore: &run.Restore{ObjectsAt: when(600), VolumesAt: when(500), ScheduledAt: when(1200), ReadyAt: when(1000)}}, []Visit{admitted, visit("quarantine", "check", 300, 400), restored},
			"Detect 100ms, Decide 200ms, Isolate 100ms, Restore objects 200ms, Bound (with Volumes) 0s, Scheduled 400ms, Ready 0s, Gate 0s",
			[]string{"Bound (100ms before what comes before it)", "Scheduled (200ms after the gate)"}},
		"a recover that was demoted": {
			run.Run{Gate: &run.Gate{StableSince: when(800)}},
			[]Visit{admitted, visit("assess", "assess", 100, 200), visit("volumesync", "start", 200, 300), visit("volumesync", "await", 300, 400), visit("assess", "assess", 400, 450),
				visit("quarantine", "apply", 450, 500), visit("degraded", "await", 500, 700), visit("gate", "ready", 700, 950), visit("quarantine", "lift", 1000, 2000)},
			"Detect 100ms, Decide 100ms, VolumeAttachmentSync 200ms, Isolate 100ms, DegradedStatefulSet 200ms, Ready 100ms, Gate 200ms",
			[]string{"repaired in place"}},
		"a history that is lost": {run.Run{}, nil, "Detect 0s, Gate (with Decide and Ready) 1s", []string{"Not recorded apart: Decide and Ready"}},
		"a trigger whose clock is ahead": {run.Run{Trigger: run.Trigger{At: at(5000)}, Gate: &run.Gate{StableSince: when(500)}}, []Visit{admitted},
			"Detect 100ms, Ready (with Decide) 400ms, Gate 500ms", []string{"counts from the start of the run"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.run.StartedAt = start
			if c.run.Trigger.At.IsZero() {
				c.run.Trigger.At = start
			}
			if c.run.Gate == nil {
				c.run.Gate = &run.Gate{}
			}
			c.run.Gate.PassedAt = when(1000)
			w := waterfall(c.run, c.visits)
			if got := names(w); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			notes := strings.Join(w.Notes, "\n")
			for _, n := range c.notes {
				if !strings.Contains(notes, n) {
					t.Errorf("the notes do not say %q:\n%s", n, notes)
				}
			}
			if len(c.notes) == 0 && notes != "" {
				t.Errorf("there is nothing to note: %s", notes)
			}
		})
	}
	if w := waterfall(run.Run{Gate: &run.Gate{Phase: run.Refused}}, nil); w != nil {
		t.Errorf("a gate that refused has no RTO: %+v", w)
	}
}

// TestBars: the picture is well-formed, whatever the names are, and a waterfall of no time divides by nothing.
func TestBars(t *testing.T) {
	w := waterfall(veleroDrill().Run, veleroDrill().Visits)
	w.Segments[0].Name = `<script> & "x"`
	for name, w := range map[string]Waterfall{"a drill": *w, "no time": {Segments: []Segment{{Name: "Gate"}}}} {
		t.Run(name, func(t *testing.T) {
			svg := string(Bars(w))
			d := xml.NewDecoder(strings.NewReader(svg))
			bars := 0
			for {
				token, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%v in %s", err, svg)
				}
				if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
					bars++
				} else if ok && e.Name.Local == "script" {
					t.Error("a name became markup")
				}
			}
			if bars != len(w.Segments) || strings.Contains(svg, "NaN") {
				t.Errorf("%d bars of %d segments: %s", bars, len(w.Segments), svg)
			}
		})
	}
}
