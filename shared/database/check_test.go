package database

import (
	"strings"
	"testing"
	"unicode/utf8"

	"fallbackchain.io/fallback/shared/plan"
)

func TestMeets(t *testing.T) {
	for _, tc := range []struct {
		expect plan.Expect
		got    string
		want   bool
		err    bool
	}{
		{equals("10"), "10", true, false},
		{equals("10"), "10.000", true, false},
		{equals("1e1"), "10", true, false},
		{equals("ten"), "Ten", false, false},
		{equals("0x10"), "16", false, false},
		{equals("1/2"), "0.5", false, false},
		{plan.Expect{AtLeast: ptr(0.1)}, "0.1", true, false},
		{plan.Expect{AtMost: ptr(0.1)}, "0.1", true, false},
		{plan.Expect{AtLeast: ptr(0.0)}, "-0.5", false, false},
		{plan.Expect{AtLeast: ptr(1.0)}, "many", false, true},
		{plan.Expect{AtMost: ptr(1.0)}, "", false, true},
		{plan.Expect{AtMost: ptr(1.0)}, "NaN", false, true},
		{plan.Expect{AtLeast: ptr(1.0)}, "1e999999999", false, true},
		{plan.Expect{Matches: ptr("a|b")}, "ab", false, false},
		{plan.Expect{Matches: ptr("a.*")}, "a\nb", false, false},
		{plan.Expect{Matches: ptr("(")}, "(", false, true},
		{plan.Expect{}, "", false, true},
	} {
		got, err := Meets(tc.expect, tc.got)
		if got != tc.want || (err != nil) != tc.err {
			t.Errorf("%s against %q: %v, %v; want %v", Describe(tc.expect), tc.got, got, err, tc.want)
		}
	}
}

func FuzzMeets(f *testing.F) {
	f.Add("1", "1.0", 1.0)
	f.Add("1e400", "-", 0.0)
	f.Fuzz(func(t *testing.T, want, got string, n float64) {
		for _, e := range []plan.Expect{{Equals: &want}, {AtLeast: &n}, {AtMost: &n}, {Matches: &want}} {
			if ok, err := Meets(e, got); ok && err != nil {
				t.Errorf("met with error %v", err)
			}
			if d := Describe(e); utf8.RuneCountInString(d) > ValueLimit && e.Equals == nil && e.Matches == nil {
				t.Errorf("described as %q", d)
			}
		}
		if got == want {
			if ok, err := Meets(plan.Expect{Equals: &want}, got); !ok || err != nil {
				t.Errorf("%q does not equal itself", got)
			}
		}
		if c := Cap(got); utf8.RuneCountInString(c) > ValueLimit || !utf8.ValidString(c) || (utf8.ValidString(got) && len(got) <= ValueLimit && c != got) {
			t.Errorf("capped to %q", c)
		}
	})
}

func TestCap(t *testing.T) {
	for _, s := range []string{"", strings.Repeat("x", ValueLimit)} {
		if Cap(s) != s {
			t.Errorf("%q became %q", s, Cap(s))
		}
	}
}
