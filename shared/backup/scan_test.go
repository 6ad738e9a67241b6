package backup

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestScanObject(t *testing.T) {
	for name, c := range map[string]struct {
		json string
		want [4]string // apiVersion, kind, namespace, name
		err  string
	}{
		"plain":         {`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","namespace":"n"}}`, [4]string{"apps/v1", "Deployment", "n", "a"}, ""},
		"other order":   {` { "metadata" : { "labels":{"name":"x","kind":"y"}, "name":"a" } , "spec":{"kind":"z","metadata":{"name":"no"}}, "kind":"K","apiVersion":"v1"} `, [4]string{"v1", "K", "", "a"}, ""},
		"escaped":       {`{"k\u0069nd":"\u0041\n","apiVersion":"v1","metadata":{"name":"a\/b"}}`, [4]string{"v1", "A\n", "", "a/b"}, ""},
		"twice":         {`{"kind":"A","kind":"B","metadata":{"name":"a","namespace":"n"},"metadata":{"name":"b"}}`, [4]string{"", "B", "", "b"}, ""},
		"no text":       {`{"kind":1,"apiVersion":null,"metadata":{"name":{"name":"x"}}}`, [4]string{}, ""},
		"metadata text": {`{"metadata":"x"}`, [4]string{}, ""},
		"empty":         {``, [4]string{}, "is no JSON object"},
		"a list":        {`[]`, [4]string{}, "is no JSON object"},
		"more":          {`{}{}`, [4]string{}, "at byte 2 of 4"},
		"cut":           {`{"a":"b`, [4]string{}, "not valid JSON"},
		"control":       {"{\"a\":\"b\x01\"}", [4]string{}, "not valid JSON"},
		"deep":          {strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001), [4]string{}, "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := scanObject([]byte(c.json))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v, expected %q", err, c.err)
				}
				return
			}
			if have := [4]string{string(h.apiVersion), string(h.kind), string(h.namespace), string(h.name)}; err != nil || have != c.want {
				t.Errorf("%q %v, expected %q", have, err, c.want)
			}
		})
	}
}

// FuzzScan holds the scanner against encoding/json: what is valid, and what an object says it is.
func FuzzScan(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `null`, `-0.5e+3`, `01`, `1.`, `"\ud800"`, `{"a":[1,2,{"b":null}],"c":"\\\"\u12af"}`, `{"kind":"A","metadata":{"name":"b","namespace":"c"}}`,
		`{"kind":"` + strings.Repeat("long", 10) + `"}`, "\"\xff\"", `[1,]`, `{"a" 1}`, `tru`, ` "x" `, `{"metadata":{"name":"é"},"apiVersion":"v1"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if have, want := validJSON(data), json.Valid(data); have != want {
			t.Fatalf("valid %v, encoding/json says %v: %q", have, want, data)
		}
		h, err := scanObject(data)
		var top map[string]json.RawMessage
		if object := json.Unmarshal(data, &top) == nil && top != nil; (err == nil) != object {
			t.Fatalf("%v, encoding/json says it is an object: %v: %q", err, object, data)
		}
		var kind string
		if err == nil && json.Unmarshal(top["kind"], &kind) == nil && kind != string(h.kind) {
			t.Fatalf("kind %q, encoding/json says %q: %q", h.kind, kind, data)
		}
	})
}
