package aws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLinkedPackages lists what is linked into each function, as it is deployed: nothing that brings every version of every API, or that
// keeps the linker from leaving out methods that nobody calls.
func TestLinkedPackages(t *testing.T) {
	never := map[string]string{
		"k8s.io/client-go/kubernetes": "a clientset doubles a function; use the dynamic client",
		"k8s.io/client-go/discovery":  "it links client-go/kubernetes/scheme: a third of a function; use shared/cluster/served",
		"k8s.io/client-go/restmapper": "it links client-go/discovery; use shared/cluster/served",
		"k8s.io/client-go/informers":  "use Client.WaitFor",
		"testing":                     "it is for tests",
		"html/template":               "with text/template, the linker keeps every method of every type; use shared/report/render",
		"github.com/aws/aws-sdk-go":   "version 1 of the SDK, beside version 2",
	}
	// What every event comes to first links no client of a cluster.
	clusterless := []string{"admit", "intake"}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "lambda.norpc", "-json=ImportPath,Deps", "./functions/.../lambda")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Deps       []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		dir, isFunction := strings.CutSuffix(p.ImportPath, "/lambda")
		if !isFunction || !strings.HasSuffix(filepath.Dir(dir), "/functions") {
			continue
		}
		seen++
		name := filepath.Base(dir)
		for _, dep := range p.Deps {
			if dep == "text/template" { // its parser may be linked
				t.Errorf("%s links %s: %s", name, dep, never["html/template"])
			}
			for forbidden, why := range never {
				if dep == forbidden || strings.HasPrefix(dep, forbidden+"/") {
					t.Errorf("%s links %s: %s", name, dep, why)
				}
			}
			if slices.Contains(clusterless, name) && strings.HasPrefix(dep, "k8s.io/client-go") {
				t.Errorf("%s links %s: it has no cluster", name, dep)
			}
		}
	}
	if n := len(read(t).functions(t)); seen != n {
		t.Errorf("%d functions were looked at, the template has %d", seen, n)
	}
}
