package report

import (
	"bytes"
	htmltemplate "html/template"
	"reflect"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/report/render"
)

// fill sets everything that can be set, so that every branch of the templates is taken.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth)
			}
		}
	case reflect.Slice:
		if depth > 0 && v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			fill(v.Index(0), depth-1)
			fill(v.Index(1), depth-1)
		}
	case reflect.Map:
		if depth > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, depth-1)
			fill(value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(`<b a="x">'&' + |` + "\x00")
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1.5)
	}
}

// TestTheStandardLibraryRendersTheSame holds what render makes of both templates against text/template and html/template, which know the
// contexts of HTML: of a report that has everything, with texts that have to be escaped, and of one that has nothing.
func TestTheStandardLibraryRendersTheSame(t *testing.T) {
	var full Report
	fill(reflect.ValueOf(&full).Elem(), 4)
	page := template.FuncMap{"class": outcomeClass, "short": func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
		"picture": func(r Report) htmltemplate.HTML { return htmltemplate.HTML(Picture(r)) }, "bars": func(w Waterfall) htmltemplate.HTML { return htmltemplate.HTML(Bars(w)) }}
	for name, r := range map[string]Report{"everything": full, "nothing": {}} {
		t.Run(name, func(t *testing.T) {
			var want bytes.Buffer
			if err := template.Must(template.New("").Funcs(functions).Parse(markdownText)).Execute(&want, r); err != nil {
				t.Fatal(err)
			}
			got, err := r.Markdown()
			if d := cmp.Diff(want.String(), string(got)); err != nil || d != "" {
				t.Errorf("Markdown: %v\n%s", err, d)
			}
			want.Reset()
			if err := htmltemplate.Must(htmltemplate.New("").Funcs(functions).Funcs(page).Parse(pageText)).Execute(&want, r); err != nil {
				t.Fatal(err)
			}
			got, err = r.HTML()
			if d := cmp.Diff(want.String(), string(got)); err != nil || d != "" {
				t.Errorf("HTML: %v\n%s", err, d)
			}
			if strings.Contains(string(got), render.Nothing) && strings.Contains(want.String(), "&lt;nil&gt;") {
				t.Error("a nil pointer is written")
			}
		})
	}
}
