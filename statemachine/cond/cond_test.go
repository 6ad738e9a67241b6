package cond_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"fallbackchain.io/fallback/statemachine/cond"
)

func decode(t testing.TB, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

const doc = `{"mode":"drill","on":true,"nothing":null,"deep":{"a":{"b":"c"}},"number":3}`

func TestEvalAndItsRuleAgree(t *testing.T) {
	yes, no, missing := "true", "false", "missing"
	for _, c := range []struct {
		cond cond.Cond
		want string
		text string
	}{
		{cond.Equals("$.mode", "drill"), yes, "mode is drill"},
		{cond.Equals("$.mode", "recover"), no, "mode is recover"},
		{cond.Equals("$.deep.a.b", "c"), yes, "deep.a.b is c"},
		{cond.Equals("$.number", "3"), no, "number is 3"},
		{cond.Equals("$.on", "true"), no, "on is true"},
		{cond.Equals("$.nothing", ""), no, "nothing is "},
		{cond.Equals("$.absent", "x"), missing, "absent is x"},
		{cond.Equals("$.mode.deeper", "x"), missing, "mode.deeper is x"},
		{cond.Is("$.on", true), yes, "on is true"},
		{cond.Is("$.on", false), no, "on is false"},
		{cond.Is("$.mode", true), no, "mode is true"},
		{cond.Is("$.absent", true), missing, "absent is true"},
		{cond.Present("$.deep.a"), yes, "deep.a present"},
		{cond.Present("$.nothing"), yes, "nothing present"},
		{cond.Present("$.absent.a"), no, "absent.a present"},
		{cond.Cond{Op: cond.IsPresent, Path: "$.absent"}, yes, "absent absent"},
		{cond.Negate(cond.Equals("$.mode", "drill")), no, "not (mode is drill)"},
		{cond.Negate(cond.Equals("$.absent", "x")), missing, "not (absent is x)"},
		{cond.All(cond.Present("$.absent"), cond.Equals("$.absent", "x")), no, "absent present and absent is x"},
		{cond.All(cond.Equals("$.absent", "x"), cond.Present("$.absent")), missing, "absent is x and absent present"},
		{cond.All(cond.Is("$.on", true), cond.Equals("$.mode", "drill")), yes, "on is true and mode is drill"},
		{cond.Any(cond.Is("$.on", true), cond.Equals("$.absent", "x")), yes, "on is true or absent is x"},
		{cond.Any(cond.Is("$.on", false), cond.Equals("$.absent", "x")), missing, "on is false or absent is x"},
		{cond.All(cond.OneOf("$.mode", "a", "drill"), cond.OneOf("$.mode", "drill")), yes, "(mode is a or mode is drill) and mode is drill"},
	} {
		t.Run(c.text, func(t *testing.T) {
			got, err := c.cond.Eval(decode(t, doc))
			if say(t, got, err) != c.want {
				t.Errorf("Eval: %t, %v; want %s", got, err, c.want)
			}
			rule, err := c.cond.Rule()
			if err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(rule)
			if err != nil {
				t.Fatal(err)
			}
			got, err = cond.EvalRule(raw, decode(t, doc))
			if say(t, got, err) != c.want {
				t.Errorf("%s: %t, %v; want %s", raw, got, err, c.want)
			}
			if c.cond.String() != c.text {
				t.Errorf("text %q", c.cond)
			}
		})
	}
}

func say(t *testing.T, holds bool, err error) string {
	t.Helper()
	switch {
	case errors.Is(err, cond.ErrMissing):
		return "missing"
	case err != nil:
		t.Fatal(err)
	case holds:
		return "true"
	}
	return "false"
}

func TestRuleIsRenderedAsTheLanguageHasIt(t *testing.T) {
	c := cond.All(cond.OneOf("$.a", "x", "y"), cond.Negate(cond.Is("$.b", false)), cond.Present("$.c"))
	rule, err := c.Rule()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(rule)
	want := `{"And":[{"Or":[{"Variable":"$.a","StringEquals":"x"},{"Variable":"$.a","StringEquals":"y"}]},{"Not":{"Variable":"$.b","BooleanEquals":false}},{"Variable":"$.c","IsPresent":true}]}`
	if err != nil || string(raw) != want {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestWhatCannotBeRenderedIsNamed(t *testing.T) {
	for want, c := range map[string]cond.Cond{
		"cannot be rendered": {},
		"And has 0 parts":    cond.All(),
		"Or has 0 parts":     cond.Negate(cond.Any()),
		"Not has 2 parts":    {Op: cond.Not, Of: []cond.Cond{cond.Present("$.a"), cond.Present("$.b")}},
		"plain member name":  cond.All(cond.Present("$.a"), cond.Equals("$.a[0]", "x")),
		`begin with "$."`:    cond.Present("mode"),
	} {
		if _, err := c.Rule(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestEvalRuleRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, rule := range []string{``, `[]`, `{}`, `{"And":[]}`, `{"And":1}`, `{"Variable":"$.mode"}`, `{"Variable":"$.mode","NumericEquals":1}`,
		`{"Variable":"$.mode","StringEquals":1}`, `{"Variable":"$.mode","StringEquals":true}`, `{"Variable":"$.mode","BooleanEquals":"x"}`,
		`{"Variable":"$.mode","IsPresent":1}`, `{"Variable":"$..mode","IsPresent":true}`, `{"Not":[]}`, `{"StringEquals":"x"}`} {
		if got, err := cond.EvalRule(json.RawMessage(rule), decode(t, doc)); err == nil {
			t.Errorf("%s: %t without an error", rule, got)
		}
	}
}

func TestPartial(t *testing.T) {
	known := func(p cond.Path) (cond.Value, bool) {
		switch p {
		case "$.a":
			return cond.Text("x"), true
		case "$.gone":
			return cond.Missing(), true
		}
		return cond.Value{}, false
	}
	b := cond.Is("$.b", true)
	for _, c := range []struct {
		cond cond.Cond
		want string
	}{
		{cond.Equals("$.a", "x"), "true"},
		{cond.Negate(cond.Equals("$.a", "x")), "false"},
		{cond.All(cond.Equals("$.a", "x"), b), "b is true"},
		{cond.All(cond.Equals("$.a", "y"), b), "false"},
		{cond.All(b, cond.Equals("$.a", "y")), "b is true and false"},
		{cond.Any(cond.Equals("$.a", "x"), b), "true"},
		{cond.Any(cond.Equals("$.a", "y"), b), "b is true"},
		{cond.Present("$.gone"), "false"},
		{cond.Equals("$.gone", "x"), "gone is x"},
		{cond.All(cond.Equals("$.a", "x"), cond.Present("$.a")), "true"},
		{cond.Negate(b), "not (b is true)"},
	} {
		if got := c.cond.Partial(known).String(); got != c.want {
			t.Errorf("%s: %s; want %s", c.cond, got, c.want)
		}
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct{ doc, path, want string }{
		{`{}`, "$.a", `{"a":"v"}`},
		{`{}`, "$.a.b.c", `{"a":{"b":{"c":"v"}}}`},
		{`{"a":{"x":1}}`, "$.a.b", `{"a":{"b":"v","x":1}}`},
		{`{"a":1}`, "$", `"v"`},
		{`{"a":1}`, "$.a.b", ""},
		{`[]`, "$.a", ""},
	} {
		got, err := cond.Set(decode(t, c.doc), cond.Path(c.path), "v")
		if (err != nil) != (c.want == "") {
			t.Errorf("%s %s: %v", c.doc, c.path, err)
			continue
		}
		if raw, _ := json.Marshal(got); err == nil && string(raw) != c.want {
			t.Errorf("%s %s: %s; want %s", c.doc, c.path, raw, c.want)
		}
	}
}

func TestAssignmentsAreAllAndStop(t *testing.T) {
	domain := func(p cond.Path) []cond.Value {
		if p == "$.a" {
			return cond.Flags()
		}
		return append([]cond.Value{cond.Missing()}, cond.Texts("x", "y")...)
	}
	var seen []string
	cond.Assignments([]cond.Path{"$.a", "$.b"}, domain, func(at map[cond.Path]cond.Value) bool {
		seen = append(seen, at["$.a"].String()+at["$.b"].String())
		return len(seen) < 5
	})
	if got := strings.Join(seen, " "); got != "falsemissing falsex falsey truemissing truex" {
		t.Error(got)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"$", "$.a", "$.a.b_1", "$.", "$..a", "a", "$.1", "$.a[0]", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := cond.ParsePath(text)
		if err != nil {
			return
		}
		if string(p) != text || (text != "$" && "$."+strings.Join(p.Names(), ".") != text) {
			t.Errorf("%q became %q of %q", text, p, p.Names())
		}
		got, err := cond.Set(map[string]any{}, p, "v")
		if err != nil {
			t.Fatal(err)
		}
		if v, err := cond.Get(got, p); err != nil || v != "v" {
			t.Errorf("%q: %v, %v", text, v, err)
		}
	})
}

func FuzzEvalRule(f *testing.F) {
	f.Add(`{"Variable":"$.mode","StringEquals":"drill"}`, doc)
	f.Add(`{"And":[{"Variable":"$.on","BooleanEquals":true},{"Not":{"Variable":"$.x","IsPresent":true}}]}`, doc)
	f.Add(`{"Or":[]}`, `[]`)
	f.Fuzz(func(t *testing.T, rule, document string) {
		var v any
		if json.Unmarshal([]byte(document), &v) != nil {
			return
		}
		first, err := cond.EvalRule(json.RawMessage(rule), v)
		again, errAgain := cond.EvalRule(json.RawMessage(rule), v)
		if first != again || (err == nil) != (errAgain == nil) || (err != nil && first) {
			t.Errorf("%s on %s: %t %v, then %t %v", rule, document, first, err, again, errAgain)
		}
	})
}
