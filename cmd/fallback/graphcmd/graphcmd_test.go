package graphcmd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/graph"
)

// call runs the command and returns what it printed.
func call(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := New()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&bytes.Buffer{})
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func machine(t *testing.T) *graph.Machine {
	t.Helper()
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkout makes a directory with functions and a template, as a checkout has them.
func checkout(t *testing.T, functions []string, template string) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range functions {
		write(t, filepath.Join(root, "functions", f, f+".go"), "package "+f)
	}
	write(t, filepath.Join(root, "functions", "notes", "README.md"), "no function")
	if template != "" {
		write(t, filepath.Join(root, "template.yaml"), template)
	}
	return root
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// template is a SAM template of functions; the machine's substitutions leave out the given.
func template(m *graph.Machine, functions []string, without string) string {
	var b strings.Builder
	b.WriteString("Transform: AWS::Serverless-2016-10-31\nResources:\n  Machine:\n    Type: AWS::Serverless::StateMachine\n    Properties:\n      DefinitionUri: statemachine/fallback.asl.json\n      DefinitionSubstitutions:\n")
	for _, f := range m.Functions() {
		if f != without {
			b.WriteString("        " + asl.LogicalName(f) + "Arn: !Ref " + asl.LogicalName(f) + ".Alias\n")
		}
	}
	for _, f := range functions {
		b.WriteString("  " + asl.LogicalName(f) + ":\n    Type: AWS::Serverless::Function\n    Properties:\n      CodeUri: !Sub '${X}'\n")
	}
	return b.String()
}

func TestProve(t *testing.T) {
	m := machine(t)
	all := slices.Concat(m.Functions(), m.Outside)
	slices.Sort(all)
	for _, c := range []struct {
		name, root string
		holds      bool
		want       string
	}{
		{"outside a checkout", t.TempDir(), true, "functions/ and template.yaml are not here"},
		{"functions without a template", checkout(t, all, ""), true, "compared with functions/\n"},
		{"functions and template", checkout(t, all, template(m, all, "")), true, "compared with functions/ and template.yaml"},
		{"a function is missing", checkout(t, all[1:], ""), false, "function admit is called by the graph but does not exist"},
		{"the template forgot one", checkout(t, all, template(m, all[1:], "")), false, "function admit exists but template.yaml does not name it"},
		{"the template has one more", checkout(t, all, template(m, append([]string{"extra"}, all...), "")), false, "template.yaml names function extra, which does not exist"},
		{"the template forgot an ARN", checkout(t, all, template(m, all, "gate")), false, ""},
		{"no template at all", checkout(t, all, "- a\n- list"), false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := call(t, "prove", "--root", c.root)
			if (err == nil) != c.holds || !strings.Contains(out, c.want) {
				t.Errorf("%v:\n%s\nwant %q", err, out, c.want)
			}
		})
	}
}

// The project itself: its functions, its template, its fault codes.
func TestTheProjectHolds(t *testing.T) {
	out, err := call(t, "prove", "--root", filepath.Join("..", "..", ".."))
	if err != nil || !strings.Contains(out, "compared with functions/ and template.yaml") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestProvePrintsEachInvariant(t *testing.T) {
	out, err := call(t, "prove", "--root", t.TempDir())
	if err != nil || strings.Count(out, " ok ") != 11 {
		t.Errorf("%v:\n%s", err, out)
	}
	out, err = call(t, "prove", "--root", t.TempDir(), "--output", "json")
	var doc struct {
		OK       bool
		Verdicts []struct {
			Name string
			OK   bool
		}
	}
	if jsonErr := json.Unmarshal([]byte(out), &doc); err != nil || jsonErr != nil || !doc.OK || len(doc.Verdicts) != 11 || !doc.Verdicts[10].OK {
		t.Errorf("%v, %v:\n%s", err, jsonErr, out)
	}
}

func TestShow(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"show", "flowchart TD"},
		{"show --mode drill", "title: fallback: drill"},
		{"show --expanded", "AwaitVolumeAttachmentSyncPhase"},
		{"show --format asl", `"StartAt": "Admit"`},
		{"show --format text", "IsolateWorkload"},
		{"show --format text --mode evaluate", "assess/assess"},
	} {
		if out, err := call(t, strings.Fields(c.args)...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v\n%s", c.args, err, out)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		"show --format png":           `--format "png" is none of mermaid, asl, text`,
		"show --mode fly":             `no mode "fly"`,
		"show --format text --mode x": `no mode "x"`,
		"show --format asl --mode x":  "one for all modes",
		"prove --output yaml":         `--output "yaml" is neither text nor json`,
		"prove --root /dev/null/x":    "not a directory",
		"show this":                   "unknown command",
	} {
		if _, err := call(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", args, err, want)
		}
	}
}

func FuzzParseTemplate(f *testing.F) {
	f.Add([]byte("Resources:\n  AdmitFunction:\n    Type: AWS::Serverless::Function\n"))
	f.Add([]byte("Resources: !Ref x"))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) {
		functions, _, err := parseTemplate(data)
		if err == nil && !slices.IsSorted(functions) {
			t.Errorf("%q is not sorted", functions)
		}
	})
}
