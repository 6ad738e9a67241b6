package render

import (
	"bytes"
	"html/template"
	"strings"
	"testing"
	texttemplate "text/template"
	"time"
)

type inner struct {
	Name string
	N    int
	Took time.Duration
}

type outer struct {
	inner
	Text   string
	Yes    bool
	Empty  []string
	List   []inner
	One    *inner
	None   *inner
	Number int64
}

var data = outer{inner: inner{"a", 1, time.Second}, Text: `<i class="x">&'+`, Yes: true, List: []inner{{"b", 2, 0}, {"c", 0, time.Minute}}, One: &inner{Name: "one"}, Number: 3}

var functions = map[string]any{
	"up": strings.ToUpper, "join": func(a, b string) string { return a + b }, "of": func(i inner) string { return i.Name },
	"ptr": func(i *inner) bool { return i != nil }, "bold": func(s string) Safe { return Safe("<b>" + s + "</b>") },
}

func execute(t *testing.T, text string, escape func(string) string) (string, error) {
	t.Helper()
	p, err := Parse("t", text, functions, escape)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = p.Execute(&b, data)
	return b.String(), err
}

func TestRender(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"x {{.Text}} {{.N}} {{.Took}} {{.Yes}}", `x <i class="x">&'+ 1 1s true`},
		{"{{if .Yes}}y{{else}}n{{end}}{{if .Empty}}y{{else}}n{{end}}{{if .None}}y{{else if .Yes}}e{{end}}", "yne"},
		{"{{with .One}}{{.Name}}{{else}}n{{end}}{{with .None}}{{.Name}}{{else}}n{{end}}{{with .Text}}{{up .}}{{end}}", `onen<I CLASS="X">&'+`},
		{"{{range .List}}{{.Name}}{{.N}},{{else}}n{{end}}{{range .Empty}}x{{else}}n{{end}}", "b2,c0,n"},
		{"{{$x := .}}{{range .List}}{{join .Name $x.One.Name}} {{$.Number}} {{end}}", "bone 3 cone 3 "},
		{`{{define "d"}}<{{.Name}}>{{end}}{{template "d" .One}}{{range .List}}{{template "d" .}}{{end}}`, "<one><b><c>"},
		{`{{if eq .Name "a"}}eq{{end}}{{if gt .N 0}}gt{{end}}{{if gt .N 1}}no{{end}}`, "eqgt"},
		{`{{.Name | up | join "x"}}{{up (join .Name "b")}}`, "xAAB"},
		{"{{of .One}}{{ptr .None}}{{ptr .One}}{{.None}}", "onefalsetruenone"},
	} {
		if got, err := execute(t, c.text, nil); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; expected %q", c.text, got, err, c.want)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"{{.Nothing}}", "has no field Nothing"},
		{"{{.None.Name}}", "is no struct"},
		{"{{.Text.Name}}", "is no struct"},
		{"{{.Took.String}}", "is no struct"}, // a method
		{"{{range .Text}}{{end}}", "expected a list"},
		{"{{range $i, $x := .List}}{{end}}", "without variables"},
		{"{{up .N}}", "argument 1 of up is int, expected string"},
		{"{{up .None.Name}}", "is no struct"},
		{"{{up}}", "no function of 0 arguments"},
		{"{{.Text .N}}", "only functions take arguments"},
		{`{{template "missing"}}`, "no template"},
		{`{{define "d"}}{{template "d"}}{{end}}{{template "d"}}`, "more than 50"},
		{"{{range .List}}{{break}}{{end}}", "not supported"},
		{"{{$x := 1}}{{$x = 2}}", "assigning"},
		{"{{if}}", "missing value"},
	} {
		if got, err := execute(t, c.text, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v; expected an error with %q", c.text, got, err, c.want)
		}
	}
}

func TestEscape(t *testing.T) {
	const text = `<p title="{{.Text}}">{{.Text}} {{bold .Name}}</p>`
	got, err := execute(t, text, HTML)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	judge := map[string]any{"bold": func(s string) template.HTML { return template.HTML("<b>" + s + "</b>") }}
	if err := template.Must(template.New("").Funcs(judge).Parse(text)).Execute(&want, data); err != nil || got != want.String() {
		t.Errorf("%s, html/template: %s, %v", got, want.String(), err)
	}
}

// FuzzRender: what is executed at all is what text/template makes of it.
func FuzzRender(f *testing.F) {
	for _, s := range []string{"{{.Text}}", "{{range .List}}{{.Name}}{{end}}", "{{with $x := .One}}{{$x.Name}}{{end}}", `{{if eq .N 1}}{{up "a"}}{{end}}`, "{{- .Name -}} x", `{{define "d"}}{{.}}{{end}}{{template "d" .N}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := execute(t, text, nil)
		if err != nil {
			return
		}
		judge, err := texttemplate.New("t").Funcs(functions).Parse(text)
		if err != nil {
			t.Fatalf("text/template does not parse %q: %v", text, err)
		}
		var want bytes.Buffer
		if err := judge.Execute(&want, data); err != nil || strings.Contains(want.String(), "<nil>") || strings.Contains(got, Nothing) {
			return // stricter in comparing types; nil pointers are written otherwise
		}
		if got != want.String() {
			t.Errorf("%q: %q, text/template %q", text, got, want.String())
		}
	})
}
