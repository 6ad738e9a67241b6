package report

import (
	"fmt"
	"html"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/report/render"
	"fallbackchain.io/fallback/shared/run"
)

// The picture draws the run's parts from top to bottom. Tiers stand in lanes of their own, the most preferred at the left,
// so that a demotion is a step to the right; everything else stands in the first lane.
const (
	laneWidth = 250
	rowHeight = 74
	boxWidth  = 214
	boxHeight = 48
	margin    = 16
)

var lanes = map[string]int{"VolumeAttachmentSync": 1, "ControlPlaneReconcile": 2, "DegradedStatefulSet": 3}

// Picture is the path as an inline SVG; its colours come from the page's style sheet.
func Picture(r Report) render.Safe {
	type box struct {
		x, y               int
		class, title, note string
	}
	most := 0
	boxes := make([]box, 0, len(r.Steps)+1)
	at := func(lane, row int) (int, int) { return margin + lane*laneWidth, margin + row*rowHeight }
	for i, s := range r.Steps {
		lane := lanes[s.Name]
		most = max(most, lane)
		x, y := at(lane, i)
		boxes = append(boxes, box{x, y, strings.ToLower(string(s.Status)), s.Name, fmt.Sprintf("%s  %s", round(s.Duration), s.Reason)})
	}
	x, y := at(0, len(boxes))
	boxes = append(boxes, box{x, y, outcomeClass(r.Outcome), string(r.Outcome), "outcome"})

	width, height := 2*margin+most*laneWidth+boxWidth, 2*margin+len(boxes)*rowHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="path" viewBox="0 0 %d %d" width="%d" role="img" aria-label="path of the run">`, width, height, width)
	b.WriteString(`<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>`)
	for i := 1; i < len(boxes); i++ {
		p, q := boxes[i-1], boxes[i]
		x1, y1, x2, y2 := p.x+boxWidth/2, p.y+boxHeight, q.x+boxWidth/2, q.y
		fmt.Fprintf(&b, `<path class="edge %s" d="M%d %dC%d %d %d %d %d %d"/>`, p.class, x1, y1, x1, y1+16, x2, y2-16, x2, y2-2)
	}
	for _, x := range boxes {
		fmt.Fprintf(&b, `<g class="%s"><rect x="%d" y="%d" width="%d" height="%d" rx="6"/><text class="title" x="%d" y="%d">%s</text><text x="%d" y="%d">%s</text><title>%s</title></g>`,
			x.class, x.x, x.y, boxWidth, boxHeight, x.x+10, x.y+20, html.EscapeString(x.title),
			x.x+10, x.y+37, html.EscapeString(clip(x.note, 34)), html.EscapeString(x.note))
	}
	b.WriteString(`</svg>`)
	return render.Safe(b.String()) // every text in it was escaped above
}

// The waterfall's sizes.
const (
	nameWidth  = 190
	fullWidth  = 560
	lineHeight = 26
)

// Bars is the waterfall as an inline SVG: a bar a part, beginning where the one above it ends.
func Bars(w Waterfall) render.Safe {
	width, height := nameWidth+fullWidth+110, lineHeight*len(w.Segments)+8
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="waterfall" viewBox="0 0 %d %d" width="%d" role="img" aria-label="the RTO in parts">`, width, height, width)
	x := func(d time.Duration) float64 {
		if w.Total <= 0 {
			return 0
		}
		return float64(d) / float64(w.Total) * fullWidth
	}
	for i, s := range w.Segments {
		y, from := 4+i*lineHeight, x(s.StartedAt.Sub(w.From))
		// A part that took no time is a line.
		wide := max(x(s.Duration), 1.5)
		fmt.Fprintf(&b, `<g><text class="title" x="0" y="%d">%s</text><rect class="p%d" x="%.1f" y="%d" width="%.1f" height="%d" rx="2"/><text x="%.1f" y="%d">%s</text><title>%s: %s</title></g>`,
			y+15, html.EscapeString(clip(s.Name, 26)), i%2, nameWidth+from, y, wide, lineHeight-6,
			nameWidth+from+wide+6, y+15, round(s.Duration), html.EscapeString(s.Label()), s.Duration)
	}
	b.WriteString(`</svg>`)
	return render.Safe(b.String()) // every text in it was escaped above
}

func outcomeClass(o run.Outcome) string {
	switch o {
	case run.Recovered, run.Evaluated, run.Skipped:
		return "good"
	case run.RolledBack, run.Aborted:
		return "demoted"
	default:
		return "failed"
	}
}

func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
