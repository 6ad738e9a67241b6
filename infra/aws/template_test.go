// Package aws_test holds template.yaml against tools that nobody here wrote, and against what the rest of the project says.
package aws_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/functions/janitor"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/chain"
)

var root = filepath.Join("..", "..")

type resource struct {
	Type       string
	Metadata   struct{ BuildMethod string }
	Properties json.RawMessage
}

type function struct {
	Timeout, MemorySize int
	AutoPublishAlias    string
	Environment         struct{ Variables map[string]any }
}

type document struct {
	Globals    struct{ Function function }
	Parameters json.RawMessage
	Resources  map[string]resource
}

func source(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// read reads the template; a value with a tag such as !Ref is its text.
func read(t *testing.T) document {
	t.Helper()
	var tree map[string]any
	if err := yaml.Unmarshal(source(t), &tree); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	decode(t, text, &d)
	return d
}

func decode(t *testing.T, data json.RawMessage, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// functions decodes every function, with the globals where it says nothing itself.
func (d document) functions(t *testing.T) map[string]function {
	t.Helper()
	out := map[string]function{}
	for name, r := range d.Resources {
		if r.Type != "AWS::Serverless::Function" {
			continue
		}
		g := d.Globals.Function
		f := function{Timeout: g.Timeout, MemorySize: g.MemorySize, AutoPublishAlias: g.AutoPublishAlias}
		decode(t, r.Properties, &f)
		if f.Environment.Variables == nil {
			f.Environment.Variables = map[string]any{}
		}
		for k, v := range g.Environment.Variables {
			f.Environment.Variables[k] = v
		}
		out[name] = f
	}
	return out
}

// lint runs cfn-lint, which knows the serverless transform's resources. A missing judge fails: what was not judged did not pass.
func lint(t *testing.T, template []byte) (said string, ok bool) {
	t.Helper()
	tool, err := filepath.Abs(filepath.Join(root, ".tools", "judges", "venv", "bin", "cfn-lint"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tool); err != nil {
		t.Fatalf("cfn-lint is missing: run `make judges` (%v)", err)
	}
	path := filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(path, template, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, path)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("cfn-lint: %v", err)
	}
	return string(out), err == nil
}

func TestCfnLint(t *testing.T) {
	good := source(t)
	for name, c := range map[string]struct {
		from, to string
		want     string
	}{
		"as committed":            {},
		"a reference to nothing":  {"SourceArn: !GetAtt ExecutionDiedRule.Arn", "SourceArn: !GetAtt Nowhere.Arn", "Nowhere"},
		"a condition of nothing":  {"Condition: HasVelero\n", "Condition: HasNothing\n", "HasNothing"},
		"a property nobody knows": {"      BuildMethod: makefile\n    Properties:\n", "      BuildMethod: makefile\n    Properties:\n      Memory: 1\n", "Memory"},
		"a wrong value":           {"Status: Enabled", "Status: Perhaps", "Perhaps"},
	} {
		t.Run(name, func(t *testing.T) {
			data := bytes.Replace(good, []byte(c.from), []byte(c.to), 1)
			if c.from != "" && bytes.Equal(data, good) {
				t.Fatalf("the template has no %q", c.from)
			}
			said, ok := lint(t, data)
			if ok != (c.want == "") || !strings.Contains(said, c.want) {
				t.Errorf("accepted %t:\n%s\nwant %q", ok, said, c.want)
			}
		})
	}
}

// TestEveryFunction: each directory of functions/ with a main is a function here that make can build, and the time limits nest.
func TestEveryFunction(t *testing.T) {
	d := read(t)
	fs := d.functions(t)
	mains, err := filepath.Glob(filepath.Join(root, "functions", "*", "lambda", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range mains {
		want = append(want, asl.LogicalName(filepath.Base(filepath.Dir(filepath.Dir(m)))))
	}
	var have []string
	for name := range fs {
		have = append(have, name)
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(have, want) || len(want) < 3 {
		t.Errorf("the template has %v, functions/ has %v", have, want)
	}
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range fs {
		if d.Resources[name].Metadata.BuildMethod != "makefile" || f.AutoPublishAlias == "" || f.MemorySize < 128 {
			t.Errorf("%s: built by %q, alias %q, %d MB: expected makefile, an alias and memory", name, d.Resources[name].Metadata.BuildMethod, f.AutoPublishAlias, f.MemorySize)
		}
	}
	for _, f := range m.Functions() {
		if got := time.Duration(fs[asl.LogicalName(f)].Timeout) * time.Second; got != limits.FunctionTimeout {
			t.Errorf("%s times out after %s: expected %s (limits.FunctionTimeout)", f, got, limits.FunctionTimeout)
		}
	}
	if got := time.Duration(fs["JanitorFunction"].Timeout) * time.Second; got <= janitor.LongestFunction+limits.FunctionTimeout {
		t.Errorf("the janitor times out after %s: expected more than it waits and a step", got)
	}
	if janitor.LongestFunction < limits.FunctionTimeout {
		t.Errorf("the janitor waits %s, shorter than a function may run (%s)", janitor.LongestFunction, limits.FunctionTimeout)
	}
}

// TestEnvironment: a function has the variables that its main asks for, and no others.
func TestEnvironment(t *testing.T) {
	asked := regexp.MustCompile(`env\.(?:ARN|Required|Optional)\("([A-Z_]+)"`)
	edge, err := os.ReadFile(filepath.Join(root, "shared", "awsedge", "edge.go"))
	if err != nil {
		t.Fatal(err)
	}
	d := read(t)
	common := d.Globals.Function.Environment.Variables
	for name, f := range d.functions(t) {
		dir := strings.ToLower(strings.TrimSuffix(name, "Function"))
		main, err := os.ReadFile(filepath.Join(root, "functions", dir, "lambda", "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(main, []byte("\n")); n >= 40 {
			t.Errorf("%s: its main has %d lines: expected fewer than 40", dir, n)
		}
		text := string(main)
		if strings.Contains(text, "awsedge.") {
			text += string(edge)
		}
		want := map[string]bool{}
		for _, m := range asked.FindAllStringSubmatch(text, -1) {
			want[m[1]] = true
		}
		for v := range want {
			if _, ok := f.Environment.Variables[v]; !ok {
				t.Errorf("%s asks for %s, which the template does not set", dir, v)
			}
		}
		for v := range f.Environment.Variables {
			if _, all := common[v]; !want[v] && !all {
				t.Errorf("%s: the template sets %s, which the function does not ask for", dir, v)
			}
		}
	}
}

// TestMachine: each function's version is substituted, and may be called.
func TestMachine(t *testing.T) {
	var machine struct {
		DefinitionURI           string
		DefinitionSubstitutions map[string]string
		Policies                []struct{ Statement []struct{ Resource []string } }
	}
	decode(t, read(t).Resources["StateMachine"].Properties, &machine)
	definition, err := os.ReadFile(filepath.Join(root, machine.DefinitionURI))
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{([A-Za-z]+)Arn\}`).FindAllStringSubmatch(string(definition), -1) {
		wanted[m[1]] = true
	}
	may := machine.Policies[0].Statement[0].Resource
	for name := range wanted {
		if got := machine.DefinitionSubstitutions[name+"Arn"]; got != name+".Version" {
			t.Errorf("%sArn is %q: expected %s.Version, so that a deployment leaves running executions alone", name, got, name)
		}
		if !slices.Contains(may, "${"+name+".Arn}:*") {
			t.Errorf("the machine may not call the versions of %s", name)
		}
	}
	if len(wanted) != len(machine.DefinitionSubstitutions) || len(may) != len(wanted) {
		t.Errorf("%d functions in the definition, %d substituted, %d that may be called", len(wanted), len(machine.DefinitionSubstitutions), len(may))
	}
}

type rule struct {
	EventPattern struct {
		Source     []string
		DetailType []string `json:"detail-type"`
	}
	Targets []struct {
		Arn              string
		InputTransformer struct{ InputTemplate string }
		DeadLetterConfig struct{ Arn string }
	}
}

// TestRules: what the rules deliver is what the parsers read.
func TestRules(t *testing.T) {
	const machine = "arn:aws:states:eu-central-1:123456789012:stateMachine:fallback-chain"
	registry, err := events.Default(machine)
	if err != nil {
		t.Fatal(err)
	}
	sample := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(root, "events", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		sample []byte
		check  func(events.Event) bool
	}{
		"ExecutionDiedRule": {sample("execution-timed-out.json"), func(e events.Event) bool { j, ok := e.(events.Janitor); return ok && j.Status == "TIMED_OUT" }},
		"AlarmRule": {field(t, sample("alarm-health-check.json"), "event"), func(e events.Event) bool {
			s, ok := e.(events.Start)
			return ok && s.Run.Mode == run.Recover && s.Run.Plan == run.PlanRef{Name: "shop", URI: "s3://plan-bucket/plans/shop.yaml"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var r rule
			decode(t, read(t).Resources[name].Properties, &r)
			var e struct {
				Source     string `json:"source"`
				DetailType string `json:"detail-type"`
			}
			if err := json.Unmarshal(c.sample, &e); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(r.EventPattern.Source, []string{e.Source}) || !slices.Equal(r.EventPattern.DetailType, []string{e.DetailType}) {
				t.Errorf("the rule matches %v %v, the sample is %q %q", r.EventPattern.Source, r.EventPattern.DetailType, e.Source, e.DetailType)
			}
			if len(r.Targets) != 1 || r.Targets[0].Arn != "IntakeFunction.Alias" || r.Targets[0].DeadLetterConfig.Arn != "DeadLetters.Arn" {
				t.Fatalf("%+v: expected the intake, with the dead letters", r.Targets)
			}
			payload := string(c.sample)
			if template := r.Targets[0].InputTransformer.InputTemplate; template != "" {
				payload = strings.NewReplacer("${PlanName}", "shop", "${PlanBucket}", "plan-bucket", "<aws.events.event.json>", payload).Replace(template)
			}
			got, err := registry.Parse([]byte(payload))
			if err != nil || !c.check(got) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func field(t *testing.T, data []byte, name string) json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil || m[name] == nil {
		t.Fatalf("no %s: %v", name, err)
	}
	return m[name]
}
