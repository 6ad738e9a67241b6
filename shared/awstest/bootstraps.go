package awstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// linkers is how many functions are linked at a time: it is one core's work.
const linkers = 2

// Bootstraps is Build for this machine's architecture.
func Bootstraps(ctx context.Context, names ...string) (map[string]string, error) {
	return Build(ctx, runtime.GOARCH, names...)
}

// Build builds functions as sam build does (`make build-<name>`) and returns each one's file by its name in template.yaml, e.g.
// "AssessFunction"; without names, those of all functions. What was built before from the same sources is not built again: every test
// package that starts functions shares build/bootstraps.
func Build(ctx context.Context, arch string, names ...string) (map[string]string, error) {
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	return builder{root: root, arch: arch, dir: filepath.Join(root, "build", "bootstraps", arch)}.build(ctx, names)
}

// Bootstrap is Bootstraps for one function of a test.
func Bootstrap(t testing.TB, name string) string {
	t.Helper()
	built, err := Bootstraps(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return built[name]
}

type builder struct{ root, arch, dir string }

func (b builder) build(ctx context.Context, names []string) (map[string]string, error) {
	// Two packages' tests at once: the second finds what the first has built.
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.Create(filepath.Join(b.dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	keys, err := b.keys(ctx)
	if err != nil {
		return nil, err
	}
	out, failed := map[string]string{}, make([]error, 0)
	var mu sync.Mutex
	var g sync.WaitGroup
	slots := make(chan struct{}, linkers)
	for dir, key := range keys {
		name := logicalName(dir)
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		g.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			file, err := b.one(ctx, name, key)
			mu.Lock()
			defer mu.Unlock()
			out[name] = file
			if err != nil {
				failed = append(failed, err)
			}
		})
	}
	g.Wait()
	for _, n := range names {
		if out[n] == "" {
			failed = append(failed, fmt.Errorf("there is no function %s in functions/", n))
		}
	}
	return out, errors.Join(failed...)
}

// logicalName is a function's name in the template: assess is AssessFunction.
func logicalName(dir string) string { return strings.ToUpper(dir[:1]) + dir[1:] + "Function" }

// one builds a function unless the one that is there has the key.
func (b builder) one(ctx context.Context, name, key string) (string, error) {
	dir := filepath.Join(b.dir, name)
	file, mark := filepath.Join(dir, "bootstrap"), filepath.Join(dir, "key")
	if have, err := os.ReadFile(mark); err == nil && string(have) == key {
		return file, nil
	}
	made := filepath.Join(b.dir, name+".new")
	if err := errors.Join(os.RemoveAll(made), os.MkdirAll(made, 0o700)); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "build-"+name, "FUNCTION_ARCH="+b.arch)
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "ARTIFACTS_DIR="+made)
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build-%s: %w\n%s", name, err, said)
	}
	// A process of the old one keeps its file.
	if err := errors.Join(os.WriteFile(filepath.Join(made, "key"), []byte(key), 0o600), os.RemoveAll(dir), os.Rename(made, dir)); err != nil {
		return "", err
	}
	return file, nil
}

// keys digests, for each function, the compiled packages that are linked into it, and how they are linked.
func (b builder) keys(ctx context.Context) (map[string]string, error) {
	how, err := os.ReadFile(filepath.Join(b.root, "Makefile"))
	if err != nil {
		return nil, err
	}
	// The flags of compiling that the Makefile has.
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-export", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc",
		"-json=ImportPath,BuildID,Deps", "./functions/.../lambda")
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.arch)
	var said bytes.Buffer
	cmd.Stderr = &said
	listed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, said.String())
	}
	ids, keys := map[string]string{}, map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(listed)); ; {
		var p struct {
			ImportPath, BuildID string
			Deps                []string
		}
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return keys, nil
		case err != nil:
			return nil, err
		}
		ids[p.ImportPath] = p.BuildID
		dir, isFunction := strings.CutSuffix(p.ImportPath, "/lambda")
		if !isFunction || filepath.Base(filepath.Dir(dir)) != "functions" {
			continue
		}
		h := sha256.New()
		fmt.Fprintf(h, "%s\n%s %s\n", how, b.arch, p.BuildID)
		for _, dep := range p.Deps { // listed before what depends on it
			fmt.Fprintf(h, "%s %s\n", dep, ids[dep])
		}
		keys[filepath.Base(dir)] = hex.EncodeToString(h.Sum(nil))
	}
}
