package aws_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReproducible: one function is built in two other directories, as `make functions` and as `sam build` do it, and each time the bytes
// are the same and name no directory. The smallest function, for the flags and the recipe are everybody's.
func TestReproducible(t *testing.T) {
	const function, name = "IntakeFunction", "intake"
	sums := map[string]string{}
	add := func(how, path string) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sums[how] = fmt.Sprintf("%x", sha256.Sum256(data))
		for _, dir := range []string{os.TempDir() + "/", os.Getenv("HOME") + "/", filepath.Dir(path)} {
			if len(dir) > 2 && bytes.Contains(data, []byte(dir)) {
				t.Errorf("%s: the program names %s", how, dir)
			}
		}
	}
	// Only what is built is copied: a change to what the build does not read cannot change it.
	for _, how := range []string{"a directory", "another, of a longer name, below others"} {
		dir := filepath.Join(t.TempDir(), strings.ReplaceAll(how, ", ", "/"))
		sources(t, dir)
		out := filepath.Join(dir, "artifacts")
		command(t, dir, []string{"ARTIFACTS_DIR=" + out}, "make", "--no-print-directory", "build-"+function)
		add(how, filepath.Join(out, "bootstrap"))
	}
	built := t.TempDir()
	home := t.TempDir()
	command(t, root, []string{"SAM_CLI_TELEMETRY=0", "__SAM_CLI_APP_DIR=" + home, "AWS_DEFAULT_REGION=us-east-1"},
		judge(t, "judges", "sam", "bin", "sam"), "build", function, "--build-dir", filepath.Join(built, "build"))
	add("sam build", filepath.Join(built, "build", function, "bootstrap"))
	made := filepath.Join(t.TempDir(), "made")
	command(t, root, nil, "make", "--no-print-directory", "functions", "FUNCTIONS="+name, "FUNCTIONS_DIR="+made)
	add("make functions", filepath.Join(made, name, "bootstrap"))
	want := sums["a directory"]
	for how, sum := range sums {
		if sum != want {
			t.Errorf("built by %s it is %s: expected %s, as in a directory", how, sum, want)
		}
	}
	if len(sums) != 4 {
		t.Errorf("%d builds", len(sums))
	}
}

// sources copies what the build of a function reads.
func sources(t *testing.T, to string) {
	t.Helper()
	for _, from := range []string{"functions", "shared", "events", "go.mod", "go.sum", "Makefile"} {
		err := filepath.WalkDir(filepath.Join(root, from), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/testdata/") {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, rel), data, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func command(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
