package recorded

import (
	"errors"
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"
)

func word(s string) (string, error) {
	if strings.Contains(s, " ") {
		return "", errors.New("two words")
	}
	return s, nil
}

func TestRead(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want Record[string]
		says string
	}{
		"lines":            {"# the head\n\na\n b \n", Record[string]{"a": "", "b": ""}, ""},
		"a mark":           {"a\nb  # sometimes: a race\n", Record[string]{"a": "", "b": "a race"}, ""},
		"a mark alone":     {"b # sometimes:\n", nil, "expected \"sometimes:\" and why"},
		"another comment":  {"b # seldom: a race\n", nil, "expected \"sometimes:\" and why"},
		"an empty comment": {"b #\n", nil, "expected \"sometimes:\" and why"},
		"twice":            {"b\nb # sometimes: a race\n", nil, `"b" is recorded twice`},
		"no line of it":    {"a b\n", nil, "two words"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(strings.NewReader(tc.text), word)
			if (tc.says == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.says)) || !maps.Equal(got, tc.want) {
				t.Errorf("got %v, %v, expected %v, %q", got, err, tc.want, tc.says)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	const want = "a  # sometimes: a race\nb\n"
	var text strings.Builder
	if err := (Record[string]{"b": "", "a": "a race"}).Write(&text, strings.Compare); err != nil || text.String() != want {
		t.Errorf("got %q, %v, expected %q", &text, err, want)
	}
	if got, err := Read(strings.NewReader(want), word); err != nil || !maps.Equal(got, Record[string]{"b": "", "a": "a race"}) {
		t.Errorf("read back: %v, %v", got, err)
	}
}

func TestStaleAndUpdated(t *testing.T) {
	rec := Record[string]{"always": "", "race": "a race"}
	for name, tc := range map[string]struct {
		used          []string
		stale         []string
		partial, full Record[string]
	}{
		"everything":            {[]string{"always", "race"}, nil, rec, rec},
		"no race this time":     {[]string{"always"}, nil, rec, rec},
		"one is not used":       {[]string{"race"}, []string{"always"}, rec, Record[string]{"race": "a race"}},
		"nothing is used":       {nil, []string{"always"}, rec, Record[string]{"race": "a race"}},
		"one is new":            {[]string{"always", "new"}, nil, Record[string]{"always": "", "race": "a race", "new": ""}, Record[string]{"always": "", "race": "a race", "new": ""}},
		"one instead of it":     {[]string{"new"}, []string{"always"}, Record[string]{"always": "", "race": "a race", "new": ""}, Record[string]{"race": "a race", "new": ""}},
		"seen more than once":   {[]string{"always", "always"}, nil, rec, rec},
		"order does not matter": {[]string{"race", "always"}, nil, rec, rec},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rec.Stale(tc.used, strings.Compare); !slices.Equal(got, tc.stale) {
				t.Errorf("stale: got %v, expected %v", got, tc.stale)
			}
			if got := rec.Updated(tc.used, false); !maps.Equal(got, tc.partial) {
				t.Errorf("updated by a part of the tests: got %v, expected %v", got, tc.partial)
			}
			if got := rec.Updated(tc.used, true); !maps.Equal(got, tc.full) {
				t.Errorf("updated by a full run: got %v, expected %v", got, tc.full)
			}
		})
	}
}

func TestPartial(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"full":              {nil, ""},
		"more than once":    {[]string{"-test.count=3"}, ""},
		"verbose":           {[]string{"-test.v=true"}, ""},
		"a choice":          {[]string{"-test.run=TestOne"}, "-run is TestOne"},
		"all but one":       {[]string{"-test.skip=TestOne"}, "-skip is TestOne"},
		"short":             {[]string{"-test.short"}, "-short is true"},
		"a list":            {[]string{"-test.list=."}, "-list is ."},
		"a fuzz target":     {[]string{"-test.fuzz=Fuzz"}, "-fuzz is Fuzz"},
		"none at all":       {[]string{"-test.count=0"}, "-count is 0"},
		"no test binary":    {[]string{"none"}, "no flag -test.run"},
		"short, then again": {[]string{"-test.short", "-test.short=false"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			flags := flag.NewFlagSet("", flag.ContinueOnError)
			if !slices.Contains(tc.args, "none") {
				for _, n := range []string{"run", "skip", "list", "fuzz"} {
					flags.String("test."+n, "", "")
				}
				flags.Bool("test.short", false, "")
				flags.Bool("test.v", false, "")
				flags.Int("test.count", 1, "")
				if err := flags.Parse(tc.args); err != nil {
					t.Fatal(err)
				}
			}
			if got := Partial(flags); (tc.says == "") != (got == "") || !strings.Contains(got, tc.says) {
				t.Errorf("got %q, expected %q", got, tc.says)
			}
		})
	}
	// The real flags have these names.
	if got := Partial(flag.CommandLine); strings.Contains(got, "no flag") {
		t.Error(got)
	}
}
