// Package aws_test holds template.yaml against tools that nobody here wrote, and against what the rest of the project says.
package aws_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/functions/janitor"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/chain"
)

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

// TestTimeLimitsNest: what waits for another waits longer than that one may take.
func TestTimeLimitsNest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "statemachine", "fallback.asl.json"))
	if err != nil {
		t.Fatal(err)
	}
	var definition struct {
		TimeoutSeconds int
		States         map[string]struct {
			Type           string
			TimeoutSeconds int
		}
	}
	decode(t, text, &definition)
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	d := read(t)
	step := second(d.Globals.Function.Timeout)
	if limits.Slice >= step || definition.TimeoutSeconds == 0 || second(definition.TimeoutSeconds) >= limits.LeaseDuration {
		t.Errorf("slice %s, function %s, machine %d s, lease %s: expected each to end before the next", limits.Slice, step, definition.TimeoutSeconds, limits.LeaseDuration)
	}
	tasks := 0
	for name, s := range definition.States {
		if s.Type != "Task" {
			continue
		}
		if tasks++; step >= second(s.TimeoutSeconds) || s.TimeoutSeconds >= definition.TimeoutSeconds {
			t.Errorf("%s is given up after %d s: expected more than the function's %s and less than the machine's", name, s.TimeoutSeconds, step)
		}
	}
	if tasks < 30 {
		t.Errorf("%d tasks", tasks)
	}
	// Nothing is delivered after the dead letters would have forgotten it, and Lambda runs nothing longer than 15 minutes.
	var queue struct{ MessageRetentionPeriod int }
	decode(t, d.Resources["DeadLetters"].Properties, &queue)
	for name, f := range d.functions(t) {
		if f.Timeout < 1 || f.Timeout > 900 || f.Timeout >= queue.MessageRetentionPeriod {
			t.Errorf("%s times out after %d s", name, f.Timeout)
		}
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
		Type, Role              string
		Tracing                 struct{ Enabled bool }
		Logging                 struct {
			Level        string
			Destinations []any
		}
	}
	d := read(t)
	decode(t, d.Resources["StateMachine"].Properties, &machine)
	if machine.Type != "STANDARD" || machine.Role != "StateMachineRole.Arn" || !machine.Tracing.Enabled || machine.Logging.Level != "ALL" || len(machine.Logging.Destinations) != 1 {
		t.Errorf("%+v: expected a standard machine with its own role, traced and logged", machine)
	}
	definition, err := os.ReadFile(filepath.Join(root, machine.DefinitionURI))
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{([A-Za-z]+)Arn\}`).FindAllStringSubmatch(string(definition), -1) {
		wanted[m[1]] = true
	}
	var may []string
	for _, st := range d.statements(t) {
		if st.From != "StateMachineRole" {
			continue
		}
		switch actions := texts(st.Action); {
		case slices.Equal(actions, []string{"lambda:InvokeFunction"}):
			may = append(may, texts(st.Resource)...)
		case slices.Equal(actions, []string{"sts:AssumeRole"}):
		default:
			for _, a := range actions {
				if !strings.HasPrefix(a, "logs:") && !strings.HasPrefix(a, "xray:") {
					t.Errorf("the machine may %s", a)
				}
			}
		}
	}
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
