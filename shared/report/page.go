package report

import (
	"maps"
	"time"

	_ "embed"

	"fallbackchain.io/fallback/shared/report/render"
)

//go:embed page.html
var pageText string

// HTML is the report as one self-contained page: no script, no request to anywhere. The template writes values only into elements and
// quoted attributes.
func (r Report) HTML() ([]byte, error) {
	all := maps.Clone(functions)
	maps.Copy(all, map[string]any{"picture": Picture, "bars": Bars, "class": outcomeClass,
		"short": func(t time.Time) string { return t.UTC().Format("15:04:05.000") }})
	return r.execute("report.html", pageText, all, render.HTML)
}
