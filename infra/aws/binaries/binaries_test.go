package binaries

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestRatchet: no function has outgrown the baseline, as built for this machine's architecture with the deployed flags. What is deployed is
// held by `make bench`, which builds for it, too.
func TestRatchet(t *testing.T) {
	files, err := Build(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	sizes, err := Sizes(files)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range b.Grown(runtime.GOARCH, sizes) {
		t.Error(g)
	}
	if b[Deployed][Bare] == 0 || len(b[Deployed]) != len(sizes) {
		t.Errorf("the baseline has %d binaries for %s, %d are built", len(b[Deployed]), Deployed, len(sizes))
	}
	// A bare function starts and is measured; the others are measured by `make bench`.
	s, err := start(t.Context(), files[Bare])
	if err != nil || s.Init <= 0 || s.MaxRSS < 1<<20 {
		t.Errorf("%+v, %v", s, err)
	}
	if z, err := zipped(files[Bare]); err != nil || z <= 0 || z >= sizes[Bare] {
		t.Errorf("zipped %d of %d, %v", z, sizes[Bare], err)
	}
}

func TestGrown(t *testing.T) {
	b := Baseline{"arm64": {"a": 1000, "b": 1000, "gone": 1}}
	got := b.Grown("arm64", map[string]int64{"a": 1020, "b": 1021, "new": 1})
	for i, want := range []string{"b for arm64 has 1021 bytes, 2.1 % more than the 1000", "new has no size for arm64", "gone is in the baseline"} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("%q, expected %q", got, want)
		}
	}
	if got := b.Grown("arm64", map[string]int64{"a": 1, "b": 1, "gone": 1}); !slices.Equal(got, nil) || len(b.Grown("amd64", map[string]int64{"a": 1})) != 1 {
		t.Errorf("%q", got)
	}
}
