package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"fallbackchain.io/fallback/shared/plan"
)

var update = flag.Bool("update", false, "write the golden files")

func TestTheCommittedSchemaIsGenerated(t *testing.T) {
	if err := run("..", true); err != nil {
		t.Fatal(err)
	}
}

func TestGenerateIsStable(t *testing.T) {
	sources, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	first, err := generate(sources)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if again, err := generate(sources); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("the same types gave other bytes: %v", err)
		}
	}
	if !bytes.Equal(first, plan.Schema()) {
		t.Error("plan.Schema is not the generated schema")
	}
}

func TestCheckFailsOnADifference(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir, false); err == nil {
		t.Error("a schema was made of no types")
	}
	sources, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	for i, source := range sources {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("types_%d.go", i)), source, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(dir, true); err == nil {
		t.Error("check passed without a schema")
	}
	if err := run(dir, false); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, true); err != nil {
		t.Errorf("check failed right after the schema was written: %v", err)
	}
}

func TestEveryFieldThatNeedsOneHasADescription(t *testing.T) {
	var s any
	if err := json.Unmarshal(plan.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"apiServerWait", "pause", "quarantine", "inventory"} {
		spec := s.(map[string]any)["properties"].(map[string]any)["spec"].(map[string]any)["properties"].(map[string]any)
		if d, _ := spec[path].(map[string]any)["description"].(string); d == "" {
			t.Errorf("spec.%s has no description", path)
		}
	}
}

func compile(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(plan.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("plan.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("plan.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judge holds YAML against the schema as an editor does: through JSON.
func judge(s *jsonschema.Schema, data []byte) error {
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return err
	}
	j, err := json.Marshal(v)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

func plans(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "testdata", dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no plans in %s: %v", dir, err)
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

func TestGoodPlansFitTheSchema(t *testing.T) {
	s := compile(t)
	for name, data := range plans(t, "good") {
		if err := judge(s, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVerdictsOnBadPlans holds against a golden file which bad plans the schema refuses too; the others have mistakes that
// a schema cannot say (a budget above its cap, a name given twice).
func TestVerdictsOnBadPlans(t *testing.T) {
	s := compile(t)
	bad := plans(t, "bad")
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		verdict := "takes"
		if judge(s, bad[name]) != nil {
			verdict = "refuses"
		}
		got.WriteString(verdict + " " + name + "\n")
	}
	const path = "../testdata/schema.golden"
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}

// FuzzSchemaIsNotStricter: what the parser takes the schema takes.
func FuzzSchemaIsNotStricter(f *testing.F) {
	for _, data := range plans(f, "good") {
		f.Add(data)
	}
	s := compile(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _ := plan.Parse("fuzz", data)
		if p == nil {
			return
		}
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := judge(s, text); err != nil {
			t.Fatalf("the parser takes it, the schema does not: %v\n%s", err, text)
		}
	})
}
