// Package judges_test lets tools that nobody here wrote judge the rendered state machine: asl-validator and cfn-lint must
// accept it, and moto's Step Functions engine must visit the states that walk visits.
package judges_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
	"fallbackchain.io/fallback/statemachine/walk/scenario"
)

// tool returns the path of an installed judge. A missing judge fails: nothing is verified that was not judged.
func tool(t *testing.T, path ...string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join(append([]string{"..", "..", ".tools", "judges"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%s is missing: run `make judges`, which installs the pinned tools that judge the state machine (%v)", filepath.Join(path...), err)
	}
	return p
}

func python(t *testing.T) string { return tool(t, "venv", "bin", "python") }

// run runs a judge and returns what it printed and whether it was content.
func run(t *testing.T, stdin []byte, command string, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", command, err)
	}
	return out.String(), errs.String(), err == nil
}

// substituted puts ARNs in the place of the functions' names, as SAM does.
func substituted(t *testing.T, definition []byte) []byte {
	t.Helper()
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	text := string(definition)
	for _, f := range m.Functions() {
		text = strings.ReplaceAll(text, asl.Resource(f), "arn:aws:lambda:eu-central-1:123456789012:function:"+f+":live")
	}
	if strings.Contains(text, "${") {
		t.Fatal("a name was not substituted")
	}
	return []byte(text)
}

// definitions are the committed ones, by file name.
func definitions(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "*.asl.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = data
	}
	return out
}

// broken is a definition in which one transition leads to a state that does not exist, and a choice lacks its Next.
func broken(t *testing.T, definition []byte) []byte {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal(definition, &d); err != nil {
		t.Fatal(err)
	}
	states := d["States"].(map[string]any)
	states["HoldDown"].(map[string]any)["Next"] = "Nowhere"
	delete(states["ByOutcome"].(map[string]any)["Choices"].([]any)[0].(map[string]any), "Next")
	out, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestASLValidator(t *testing.T) {
	validator := tool(t, "npm", "node_modules", ".bin", "asl-validator")
	for name, definition := range definitions(t) {
		for _, c := range []struct {
			what string
			data []byte
			want bool
		}{
			{"as committed", definition, true},
			{"with ARNs", substituted(t, definition), true},
			{"broken", broken(t, definition), false},
		} {
			t.Run(name+" "+c.what, func(t *testing.T) {
				out, errs, ok := run(t, nil, validator, "--json-path", write(t, name, c.data))
				if ok != c.want {
					t.Errorf("accepted %t, want %t:\n%s%s", ok, c.want, out, errs)
				}
			})
		}
	}
}

func TestCfnLint(t *testing.T) {
	lint := tool(t, "venv", "bin", "cfn-lint")
	for name, definition := range definitions(t) {
		for _, c := range []struct {
			what string
			data []byte
			want bool
		}{
			{"with ARNs", substituted(t, definition), true},
			{"broken", broken(t, substituted(t, definition)), false},
		} {
			t.Run(name+" "+c.what, func(t *testing.T) {
				template, err := json.Marshal(map[string]any{
					"AWSTemplateFormatVersion": "2010-09-09",
					"Resources": map[string]any{"Machine": map[string]any{"Type": "AWS::StepFunctions::StateMachine", "Properties": map[string]any{
						"RoleArn": "arn:aws:iam::123456789012:role/machine", "Definition": json.RawMessage(c.data)}}},
				})
				if err != nil {
					t.Fatal(err)
				}
				out, errs, ok := run(t, nil, lint, write(t, "template.json", template))
				if ok != c.want {
					t.Errorf("accepted %t, want %t:\n%s%s", ok, c.want, out, errs)
				}
			})
		}
	}
}

// judged is what moto_walk.py says of one scenario.
type judged struct {
	Name   string
	Path   []string
	Status string
	Error  string
	Output any
	Calls  int
	Events int
}

func TestMotoVisitsTheStatesThatWalkVisits(t *testing.T) {
	interpreter := python(t)
	definition, err := asl.Render(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	scenarios, err := scenario.Generate(chain.Fallback())
	if err != nil {
		t.Fatal(err)
	}
	job, err := json.Marshal(map[string]any{"definition": string(substituted(t, definition)), "scenarios": scenarios})
	if err != nil {
		t.Fatal(err)
	}
	out, errs, ok := run(t, job, interpreter, "moto_walk.py")
	if !ok {
		t.Fatalf("moto_walk.py failed:\n%s", errs)
	}
	var results []judged
	if err := json.Unmarshal([]byte(out), &results); err != nil || len(results) != len(scenarios) {
		t.Fatalf("%d results for %d scenarios: %v", len(results), len(scenarios), err)
	}
	for i, s := range scenarios {
		t.Run(s.Name, func(t *testing.T) { compare(t, s, results[i]) })
	}
}

// compare walks the scenario here and holds path, end, error, calls and the run's state against what moto's engine says.
func compare(t *testing.T, s scenario.Scenario, moto judged) {
	now := scenario.Start()
	res, err := walk.Walk(t.Context(), walk.Options{Graph: chain.Fallback(), Handlers: s.Handlers(), Now: func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil }}, s.Input)
	if err != nil {
		t.Fatal(err)
	}
	var path []string
	for _, v := range res.Path {
		path = append(path, v.State)
	}
	if moto.Name != s.Name || !slices.Equal(path, moto.Path) {
		t.Fatalf("walk visits\n%v\nmoto visits, for %q,\n%v", path, moto.Name, moto.Path)
	}
	if status := map[bool]string{true: "SUCCEEDED", false: "FAILED"}[res.Succeeded]; moto.Status != status || moto.Error != res.Error {
		t.Errorf("walk ends %s %q, moto %s %q", status, res.Error, moto.Status, moto.Error)
	}
	if moto.Calls != len(s.Answers) {
		t.Errorf("moto called %d times, the scenario has %d answers", moto.Calls, len(s.Answers))
	}
	var output any
	if err := json.Unmarshal(res.Output, &output); err != nil {
		t.Fatal(err)
	}
	if here, there := withoutCauses(output), withoutCauses(moto.Output); !reflect.DeepEqual(here, there) {
		t.Errorf("the run's state is\n%v\nand in moto\n%v", here, there)
	}
}

// withoutCauses drops the text of caught errors: Lambda wraps it in JSON.
func withoutCauses(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for k, inner := range m {
		if k != "Cause" {
			out[k] = withoutCauses(inner)
		}
	}
	return out
}
