package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "fallbackchain.io/fallback/"

// TestImportDirections holds the design's rules: cmd → functions → shared; the core of the state machine imports the
// standard library only; only shared/cluster builds Kubernetes clients; no function links a clientset.
func TestImportDirections(t *testing.T) {
	type pkg struct {
		ImportPath string
		Imports    []string
		Deps       []string
		Standard   bool
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Deps,Standard", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	standard := map[string]bool{"C": true}
	var ours []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		standard[p.ImportPath] = p.Standard
		if strings.HasPrefix(p.ImportPath, module) {
			ours = append(ours, p)
		}
	}
	under := func(path string, dirs ...string) bool {
		for _, d := range dirs {
			if path == module+d || strings.HasPrefix(path, module+d+"/") {
				return true
			}
		}
		return false
	}
	seen := 0
	for _, p := range ours {
		for _, i := range p.Imports {
			switch {
			case under(p.ImportPath, "statemachine/graph", "statemachine/cond", "statemachine/prove") && !standard[i] && !under(i, "statemachine"):
				t.Errorf("%s imports %s: the core of the state machine imports the standard library only", p.ImportPath, i)
			case under(p.ImportPath, "shared") && under(i, "functions", "cmd", "infra", "events"):
				t.Errorf("%s imports %s: shared is below everything", p.ImportPath, i)
			case under(p.ImportPath, "functions") && under(i, "cmd", "infra"):
				t.Errorf("%s imports %s: functions are below cmd", p.ImportPath, i)
			case under(p.ImportPath, "functions", "shared") && !under(p.ImportPath, "shared/cluster", "shared/steptest") &&
				(i == "k8s.io/client-go/tools/clientcmd" || i == "k8s.io/client-go/rest"):
				t.Errorf("%s imports %s: only shared/cluster builds Kubernetes clients", p.ImportPath, i)
			}
		}
		if under(p.ImportPath, "functions", "shared") {
			seen++
			for _, d := range p.Deps {
				if d == "k8s.io/client-go/kubernetes" || strings.HasPrefix(d, "k8s.io/client-go/kubernetes/typed/") {
					t.Errorf("%s links %s: a clientset doubles a function's binary", p.ImportPath, d)
				}
			}
		}
	}
	if seen < 10 {
		t.Fatalf("only %d packages were checked", seen)
	}
}
