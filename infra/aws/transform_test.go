package aws_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// judge is a program of the pinned tools. A missing judge fails: what was not judged did not pass.
func judge(t *testing.T, path ...string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join(append([]string{root, ".tools"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%s is missing: run `make judges` (%v)", filepath.Join(path...), err)
	}
	return p
}

// TestCfnLint: the templates as committed.
func TestCfnLint(t *testing.T) {
	var paths []string
	for path := range templates(t) {
		paths = append(paths, filepath.Join(root, path))
	}
	if said, ok := lint(t, paths...); !ok || len(paths) < 6 {
		t.Errorf("%v:\n%s", paths, said)
	}
}

// TestCfnLintSees: the judge sees mistakes, made in the smallest serverless template.
func TestCfnLintSees(t *testing.T) {
	good, err := os.ReadFile("probe.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var paths []string
	cases := map[string]struct{ from, to, want string }{
		"reference": {"!GetAtt SchedulerRole.Arn", "!GetAtt Nowhere.Arn", "Nowhere"},
		"condition": {"!If [HasKey,", "!If [HasNothing,", "HasNothing"},
		"property":  {"      Type: EXPRESS\n", "      Type: EXPRESS\n      Memory: 1\n", "Memory"},
		"value":     {"Statistic: Minimum", "Statistic: Perhaps", "Perhaps"},
	}
	for name, c := range cases {
		data := bytes.Replace(good, []byte(c.from), []byte(c.to), 1)
		if bytes.Equal(data, good) {
			t.Fatalf("the template has no %q", c.from)
		}
		path := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	said, _ := lint(t, paths...)
	for name, c := range cases {
		if !slices.ContainsFunc(strings.Split(said, "\n"), func(l string) bool {
			return strings.HasPrefix(l, filepath.Join(dir, name+".yaml")+":") && strings.Contains(l, c.want)
		}) {
			t.Errorf("%s: nothing is said of %s in\n%s", name, c.want, said)
		}
	}
}

// TestTransformed judges what CloudFormation gets: the definition holds versions and nothing else, the alias that events use is the
// version too, and no role was made that is not written down.
func TestTransformed(t *testing.T) {
	var made struct {
		Resources map[string]struct {
			Type       string
			Properties json.RawMessage
		}
	}
	decode(t, transformed(t), &made)
	d := read(t)
	version := map[string]string{} // by function
	for name, r := range made.Resources {
		switch r.Type {
		case "AWS::IAM::Role":
			if d.Resources[name].Type != r.Type {
				t.Errorf("SAM made the role %s", name)
			}
		case "AWS::Lambda::Version":
			var v struct{ FunctionName struct{ Ref string } }
			decode(t, r.Properties, &v)
			version[v.FunctionName.Ref] = name
		}
	}
	var machine struct {
		StateMachineType        string
		DefinitionSubstitutions map[string]struct{ Ref string }
	}
	decode(t, made.Resources["StateMachine"].Properties, &machine)
	if len(machine.DefinitionSubstitutions) < 10 || machine.StateMachineType != "STANDARD" {
		t.Errorf("%+v", machine)
	}
	for name, to := range machine.DefinitionSubstitutions {
		if want := version[strings.TrimSuffix(name, "Arn")]; want == "" || to.Ref != want {
			t.Errorf("%s is %s: expected %s", name, to.Ref, want)
		}
	}
	for name := range d.functions(t) {
		var f struct {
			Runtime       string
			Architectures []string
			TracingConfig struct{ Mode string }
			LoggingConfig struct{ LogFormat string }
		}
		decode(t, made.Resources[name].Properties, &f)
		if f.Runtime != "provided.al2023" || len(f.Architectures) != 1 || f.Architectures[0] != "arm64" || f.TracingConfig.Mode != "Active" || f.LoggingConfig.LogFormat != "JSON" {
			t.Errorf("%s: %+v", name, f)
		}
		var alias struct {
			FunctionVersion struct {
				GetAtt []string `json:"Fn::GetAtt"`
			}
		}
		decode(t, made.Resources[name+"Aliaslive"].Properties, &alias)
		if got := alias.FunctionVersion.GetAtt; version[name] == "" || len(got) != 2 || got[0] != version[name] {
			t.Errorf("%s: its alias is of %v, its version is %s", name, got, version[name])
		}
	}
}

// TestVulnerabilitiesAreFound: with a database that says json.Unmarshal is one, the check fails; without a database it says so, and
// fails where it is required.
func TestVulnerabilitiesAreFound(t *testing.T) {
	here, err := filepath.Abs("testdata/vulndb")
	if err != nil {
		t.Fatal(err)
	}
	make, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(make), "GOVULNCHECK_VERSION := ")
	pinned, _, _ := strings.Cut(after, "\n")
	tool := judge(t, "bin", "govulncheck-"+pinned)
	for name, c := range map[string]struct {
		env  []string
		ok   bool
		want string
	}{
		"found":       {[]string{"VULNDB=file://" + here}, false, "calls json.Unmarshal"},
		"no database": {[]string{"VULNDB=file://" + here + "/nothing"}, true, "NOTHING WAS JUDGED"},
		"required":    {[]string{"VULNDB=file://" + here + "/nothing", "VULNCHECK=required"}, false, "NOTHING WAS JUDGED"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "bash", "statemachine/judges/vulncheck.sh", tool, "./events")
			cmd.Dir, cmd.Env = root, append(os.Environ(), c.env...)
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.ok || !strings.Contains(string(out), c.want) {
				t.Errorf("%v\n%s\nwant %q", err, out, c.want)
			}
		})
	}
}

// TestSuppressionsAreExplained: what checkov does not judge says why, here and beside the resource.
func TestSuppressionsAreExplained(t *testing.T) {
	config, err := os.ReadFile(filepath.Join(root, ".checkov.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(config), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "  - CKV") && !strings.HasPrefix(lines[i-1], "  # ") {
			t.Errorf(".checkov.yaml: %s: expected the reason above it", l)
		}
	}
	skipped := 0
	for path, d := range templates(t) {
		for name, r := range d.Resources {
			for _, s := range r.Metadata.Checkov.Skip {
				skipped++
				if !strings.HasPrefix(s.ID, "CKV_") || len(s.Comment) < 15 {
					t.Errorf("%s: %s: %+v: expected the reason", path, name, s)
				}
			}
		}
	}
	if skipped == 0 {
		t.Error("no suppressions were read")
	}
}
