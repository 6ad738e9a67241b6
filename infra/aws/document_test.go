package aws_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var root = filepath.Join("..", "..")

type resource struct {
	Type, Condition                     string
	DeletionPolicy, UpdateReplacePolicy string
	Metadata                            struct {
		BuildMethod string
		Checkov     struct {
			Skip []struct{ ID, Comment string }
		}
	}
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

// lint runs cfn-lint, which knows the serverless transform's resources, once over all: most of its time is its start. Each line that it
// prints begins with a template's path.
func lint(t *testing.T, templates ...string) (said string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, judge(t, "judges", "venv", "bin", "cfn-lint"), append([]string{"--format", "parseable"}, templates...)...)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatalf("cfn-lint: %v", err)
	}
	return string(out), err == nil
}
