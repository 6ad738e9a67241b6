package mergepatch_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/mergepatch"
)

// TestApply has the objects of https://www.rfc-editor.org/rfc/rfc7386#appendix-A.
func TestApply(t *testing.T) {
	for _, tc := range []struct{ m, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var m, patch map[string]any
		for text, into := range map[string]*map[string]any{tc.m: &m, tc.patch: &patch} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		mergepatch.Apply(m, patch)
		if got, err := json.Marshal(m); err != nil || string(got) != tc.want {
			t.Errorf("%s with %s: %s (%v), want %s", tc.m, tc.patch, got, err, tc.want)
		}
	}
}

func TestMake(t *testing.T) {
	for name, tc := range map[string]struct{ from, to, want string }{
		"nothing":                        {`{"a":1}`, `{"a":1}`, `{}`},
		"changed":                        {`{"spec":{"type":"LoadBalancer","x":1}}`, `{"spec":{"type":"ClusterIP","x":1}}`, `{"spec":{"type":"ClusterIP"}}`},
		"gone":                           {`{"spec":{"a":1,"b":{"c":1}}}`, `{"spec":{}}`, `{"spec":{"a":null,"b":null}}`},
		"new":                            {`{}`, `{"spec":{"suspend":true}}`, `{"spec":{"suspend":true}}`},
		"lists are replaced":             {`{"l":[1,2]}`, `{"l":[1]}`, `{"l":[1]}`},
		"annotations go one by one":      {`{"metadata":{"annotations":{"a":"1","b":"2"}}}`, `{"metadata":{}}`, `{"metadata":{"annotations":{"a":null,"b":null}}}`},
		"a map in place of a value":      {`{"a":1}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		"a value in place of a map":      {`{"a":{"b":1}}`, `{"a":1}`, `{"a":1}`},
		"an annotation beside one stays": {`{"metadata":{"annotations":{"a":"1","b":"2"}}}`, `{"metadata":{"annotations":{"b":"2"}}}`, `{"metadata":{"annotations":{"a":null}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(decoded(t, tc.want), mergepatch.Make(decoded(t, tc.from), decoded(t, tc.to), reflect.DeepEqual)); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzMake(f *testing.F) {
	f.Add(`{"a":{"b":[1]},"metadata":{"labels":{"x":"y"}}}`, `{"a":{"c":2}}`)
	f.Add(`{"spec":{"type":"NodePort"}}`, `{"spec":{"type":"ClusterIP","clusterIP":"None"}}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		var from, to map[string]any
		if json.Unmarshal([]byte(a), &from) != nil || json.Unmarshal([]byte(b), &to) != nil || from == nil || to == nil || strings.Contains(a+b, "null") {
			return // null is no value of an object, and no patch can say it
		}
		got := decoded(t, a)
		mergepatch.Apply(got, mergepatch.Make(from, to, reflect.DeepEqual))
		// What is left of annotations and labels may be an empty map, which the API server drops.
		if d := cmp.Diff(prune(to), prune(got)); d != "" {
			t.Error(d)
		}
	})
}

func prune(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		if inner, ok := v.(map[string]any); ok {
			if v = prune(inner); len(v.(map[string]any)) == 0 {
				continue
			}
		}
		out[k] = v
	}
	return out
}

func decoded(t testing.TB, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}
