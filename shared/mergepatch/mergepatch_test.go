package mergepatch_test

import (
	"encoding/json"
	"testing"

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
