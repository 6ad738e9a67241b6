package plan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files lists a folder of testdata by base name without ".yaml".
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no plans in testdata/%s: %v", dir, err)
	}
	out := map[string][]byte{}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(p), ".yaml")] = data
	}
	return out
}

func TestGoodPlansParseAndRoundTrip(t *testing.T) {
	for name, data := range files(t, "good") {
		t.Run(name, func(t *testing.T) {
			p, problems := Parse(name, data)
			if err := problems.Err(); err != nil {
				t.Fatal(err)
			}
			roundTrip(t, p)
			roundTrip(t, p.WithDefaults())
			if err := p.Validate().Err(); err != nil {
				t.Errorf("Validate finds what Parse did not: %v", err)
			}
		})
	}
}

func roundTrip(t *testing.T, p *Plan) {
	t.Helper()
	text, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, problems := Parse("marshalled", text)
	if err := problems.Err(); err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	if diff := cmp.Diff(p, again); diff != "" {
		t.Fatalf("parse(marshal(p)) != p (-p +again):\n%s\nin\n%s", diff, text)
	}
}
