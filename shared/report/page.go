package report

import (
	"bytes"
	"html/template"
	"maps"
	"time"

	_ "embed"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("report.html").Funcs(template.FuncMap(maps.Collect(maps.All(functions)))).Funcs(template.FuncMap{
	"picture": Picture,
	"bars":    Bars,
	"class":   outcomeClass,
	"short":   func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
}).Parse(pageText))

// HTML is the report as one self-contained page: no script, no request to anywhere.
func (r Report) HTML() ([]byte, error) {
	var b bytes.Buffer
	if err := page.Execute(&b, r); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
