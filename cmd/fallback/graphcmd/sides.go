package graphcmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/graph"
)

// functionDirs lists the directories of functions/ below root; nil when it is not there.
func functionDirs(root string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, "functions"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--root: %w", err)
	}
	out := []string{}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(root, "functions", e.Name(), e.Name()+".go")); err == nil && e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// templateFunctions lists the functions that template.yaml below root names, by their directories' names; nil when there is
// no template. It fails when a state machine of the template does not substitute exactly the ARNs that the definition has.
func templateFunctions(root string, m *graph.Machine) ([]string, error) {
	path := filepath.Join(root, "template.yaml")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	functions, substitutions, err := parseTemplate(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, f := range m.Functions() {
		if key := asl.LogicalName(f) + "Arn"; substitutions != nil && !slices.Contains(substitutions, key) {
			return nil, fmt.Errorf("%s: DefinitionSubstitutions has no %s, which the definition needs", path, key)
		}
	}
	return functions, nil
}

// parseTemplate reads a SAM template: the functions by the name of their directory (AdmitFunction is admit) and the keys of
// the state machines' DefinitionSubstitutions, nil when there are none.
func parseTemplate(data []byte) (functions, substitutions []string, err error) {
	var doc struct {
		Resources map[string]struct {
			Type       string `yaml:"Type"`
			Properties struct {
				DefinitionSubstitutions map[string]yaml.Node `yaml:"DefinitionSubstitutions"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, nil, fmt.Errorf("is no template: %w", err)
	}
	functions = []string{}
	for name, r := range doc.Resources {
		switch r.Type {
		case "AWS::Serverless::Function":
			functions = append(functions, strings.ToLower(strings.TrimSuffix(name, "Function")))
		case "AWS::Serverless::StateMachine":
			for key := range r.Properties.DefinitionSubstitutions {
				substitutions = append(substitutions, key)
			}
		}
	}
	slices.Sort(functions)
	slices.Sort(substitutions)
	return functions, substitutions, nil
}
