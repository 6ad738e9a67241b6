package binaries

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestRatchet: no function has outgrown the baseline, as built for this machine's architecture with the deployed flags: the programs that
// other tests start. Those that are deployed are held by `make sam-build`, which has built them, and how they start by `make bench`.
func TestRatchet(t *testing.T) {
	files, err := Build(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	measured, err := sizesOf(files, false)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.holds(t.Output(), runtime.GOARCH, measured, nativeSizes); err != nil {
		t.Error(err)
	}
	have, want := slices.Sorted(maps.Keys(b[Deployed])), slices.Sorted(maps.Keys(measured))
	if !slices.Equal(have, want) {
		t.Errorf("the baseline has %v for %s: expected %v", have, Deployed, want)
	}
	for name, f := range b[Deployed] {
		if f[binarySize] <= 0 || f[zipSize] <= 0 || f[zipSize] >= f[binarySize] {
			t.Errorf("the baseline has %v of %s for %s: expected a %s size and a smaller %s size", f, name, Deployed, binarySize, zipSize)
		}
	}
	// A bare function starts and is measured; the others are measured by `make bench`.
	s, err := start(t.Context(), files[Bare])
	if err != nil || s.Init <= 0 || s.MaxRSS < 1<<20 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestCompare(t *testing.T) {
	for name, tc := range map[string]struct {
		was, now      map[string]Figures
		limits        []limit
		worse, better string // what the only line begins with
	}{
		"the same":                {was: one("a", 1000, 400), now: one("a", 1000, 400), limits: sizes},
		"2 % more":                {was: one("a", 1000, 400), now: one("a", 1020, 408), limits: sizes},
		"a larger binary":         {was: one("a", 1000, 400), now: one("a", 1021, 400), limits: sizes, worse: "binary of a for arm64 is 1021 bytes, the baseline's is 1000: expected at most 1020, 2 % more"},
		"a larger zip":            {was: one("a", 10000, 4000), now: one("a", 10000, 4081), limits: sizes, worse: "zip of a for arm64 is 4081 bytes, the baseline's is 4000: expected at most 4080"},
		"a new function":          {was: one("a", 1000, 400), now: merged(one("a", 1000, 400), one("b", 1, 1)), limits: sizes, worse: "b is not in the baseline for arm64"},
		"a function that is gone": {was: merged(one("a", 1000, 400), one("b", 1, 1)), now: one("a", 1000, 400), limits: sizes, worse: "b is in the baseline for arm64 and was not built"},
		"no baseline of a figure": {was: map[string]Figures{"a": {binarySize: 1000}}, now: one("a", 1000, 400), limits: sizes, worse: "zip of a for arm64 is not in the baseline"},
		"a figure not measured":   {was: one("a", 1000, 400), now: map[string]Figures{"a": {binarySize: 1000}}, limits: sizes, worse: "zip of a for arm64 was not measured"},
		"a figure not wanted":     {was: one("a", 1000, 400), now: map[string]Figures{"a": {binarySize: 1000}}, limits: nativeSizes},
		"a little smaller":        {was: one("a", 1000, 400), now: one("a", 981, 393), limits: sizes},
		"a smaller binary":        {was: one("a", 10000, 4000), now: one("a", 9000, 4000), limits: sizes, better: "binary of a for arm64 is 9000 bytes, the baseline's is 10000: it can be lowered"},
		"a smaller zip":           {was: one("a", 10000, 4000), now: one("a", 10000, 3900), limits: sizes, better: "zip of a for arm64 is 3900 bytes, the baseline's is 4000: it can be lowered"},

		"starts as it did":         {was: begins(6, 3.5), now: begins(6, 3.5), limits: startRatios},
		"starts on a busy machine": {was: begins(6, 3.5), now: begins(11.9, 3.8), limits: startRatios},
		"starts too late":          {was: begins(6, 3.5), now: begins(12.1, 3.5), limits: startRatios, worse: "init of a for arm64 is 12.10 times the bare function's, the baseline's is 6.00: expected at most 12.00, 100 % more"},
		"over the bar for init":    {was: begins(4.7, 3.5), now: begins(7.6, 3.5), limits: startRatios, worse: "init of a for arm64 is 7.60 times the bare function's, the baseline's is 4.70: expected at most 7.50, the bar of 5 and 50 % of noise"},
		"at the bar, by its noise": {was: begins(4.7, 3.5), now: begins(7.4, 3.5), limits: startRatios},
		"under the bar, too late":  {was: begins(2, 3.5), now: begins(4.1, 3.5), limits: startRatios, worse: "init of a for arm64 is 4.10 times the bare function's, the baseline's is 2.00: expected at most 4.00, 100 %"},
		"takes more memory":        {was: begins(6, 3), now: begins(6, 3.31), limits: startRatios, worse: "rss of a for arm64 is 3.31 times the bare function's, the baseline's is 3.00: expected at most 3.30, 10 %"},
		"over the bar for memory":  {was: begins(6, 3.9), now: begins(6, 4.01), limits: startRatios, worse: "rss of a for arm64 is 4.01 times the bare function's, the baseline's is 3.90: expected at most 4.00, the bar"},
		"not started":              {was: begins(6, 3.5), now: map[string]Figures{"a": {rssRatio: 3.5}}, limits: startRatios, worse: "init of a for arm64 was not measured"},
		"starts much sooner":       {was: begins(6, 3.5), now: begins(2.9, 3.5), limits: startRatios, better: "init of a for arm64 is 2.90 times the bare function's, the baseline's is 6.00: it can be lowered"},
		"takes much less memory":   {was: begins(6, 3.5), now: begins(6, 3), limits: startRatios, better: "rss of a for arm64 is 3.00 times the bare function's, the baseline's is 3.50: it can be lowered"},
	} {
		t.Run(name, func(t *testing.T) {
			worse, better := Baseline{Deployed: tc.was}.Compare(Deployed, tc.now, tc.limits...)
			for _, side := range []struct {
				what string
				got  []string
				want string
			}{{"worse", worse, tc.worse}, {"better", better, tc.better}} {
				if (side.want == "") != (len(side.got) == 0) || len(side.got) > 1 || (len(side.got) == 1 && !strings.HasPrefix(side.got[0], side.want)) {
					t.Errorf("%s: got %q, expected %q", side.what, side.got, side.want)
				}
			}
		})
	}
}

func one(name string, binary, archive float64) map[string]Figures {
	return map[string]Figures{name: {binarySize: binary, zipSize: archive}}
}

func begins(init, rss float64) map[string]Figures {
	return map[string]Figures{"a": {initRatio: init, rssRatio: rss}}
}

func merged(a, b map[string]Figures) map[string]Figures {
	maps.Copy(a, b)
	return a
}

// TestUpdated: -update replaces what was measured, and only this.
func TestUpdated(t *testing.T) {
	b := Baseline{"arm64": merged(one("a", 1, 1), one("gone", 1, 1)), "amd64": begins(6, 3)}
	b["arm64"]["a"][initRatio] = 7
	got := b.updated(Baseline{"arm64": merged(one("a", 2, 2), one("new", 3, 3))})
	want := Baseline{"arm64": {"a": {binarySize: 2, zipSize: 2, initRatio: 7}, "new": {binarySize: 3, zipSize: 3}}, "amd64": begins(6, 3)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, expected %v", got, want)
	}
}

// TestSizes: programs that are there already are held as they lie, under the names of sam build and of make functions.
func TestSizes(t *testing.T) {
	text := []byte(strings.Repeat("the same ", 100))
	for name, tc := range map[string]struct {
		dirs []string
		text []byte
		says string
	}{
		"as sam build names them":      {[]string{"AssessFunction", "GateFunction"}, text, ""},
		"as make functions names them": {[]string{"assess", "gate"}, text, ""},
		"a larger program":             {[]string{"assess", "gate"}, append(text, text...), "binary of AssessFunction for arm64 is 1800 bytes"},
		"a larger archive":             {[]string{"assess", "gate"}, noise(len(text)), "zip of AssessFunction for arm64 is"},
		"one is not there":             {[]string{"assess"}, text, "GateFunction is in the baseline for arm64 and was not built"},
		"one more":                     {[]string{"assess", "gate", "seal"}, text, "SealFunction is not in the baseline for arm64"},
		"nothing":                      {nil, nil, "AssessFunction is in the baseline for arm64 and was not built"},
	} {
		t.Run(name, func(t *testing.T) {
			reference := filepath.Join(t.TempDir(), "bootstrap")
			write(t, reference, text)
			of, err := sizesOf(map[string]string{"AssessFunction": reference, "GateFunction": reference, Bare: reference}, true)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, d := range tc.dirs {
				write(t, filepath.Join(dir, d, "bootstrap"), tc.text)
			}
			err = Baseline{Deployed: of}.sizesIn(t.Output(), dir)
			if (tc.says == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("got %v, expected %q", err, tc.says)
			}
		})
	}
}

// noise is text that no archive makes much smaller.
func noise(n int) []byte {
	out, x := make([]byte, n), uint32(1)
	for i := range out {
		x = x*1664525 + 1013904223
		out[i] = byte(x >> 24)
	}
	return out
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
