package toolchain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// layout is part of every key: raise it when what a cache directory holds changes other than by its inputs.
const layout = "1"

// recipe is everything that decides the content of a group's cache directory.
type recipe struct {
	dir   string   // the group's module
	flags []string // of go build
	key   string   // digest of go.mod, go.sum, the module's own source, the flags, the platform and the group's definition
}

func (c Config) recipe(g Group) (recipe, error) {
	r := recipe{dir: filepath.Join(c.Source, "infra", "local", "tools", g.Name)}
	mod, err := os.ReadFile(filepath.Join(r.dir, "go.mod"))
	if err != nil {
		return r, fmt.Errorf("tools %s: %w", g.Name, err)
	}
	sum, err := os.ReadFile(filepath.Join(r.dir, "go.sum"))
	if err != nil {
		return r, fmt.Errorf("tools %s: %w", g.Name, err)
	}
	if r.flags, err = buildFlags(g, mod); err != nil {
		return r, fmt.Errorf("tools %s: %w", g.Name, err)
	}
	parts := []string{layout, runtime.GOOS, runtime.GOARCH, string(mod), string(sum), strings.Join(r.flags, "\n"), fmt.Sprint(g)}
	own, err := filepath.Glob(filepath.Join(r.dir, "*", "*.go"))
	if err != nil {
		return r, err
	}
	for _, f := range own {
		source, err := os.ReadFile(f)
		if err != nil {
			return r, fmt.Errorf("tools %s: %w", g.Name, err)
		}
		parts = append(parts, string(source))
	}
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	r.key = g.Name + "-" + hex.EncodeToString(h.Sum(nil))[:16]
	return r, nil
}

// buildFlags strips symbols and paths (a third of the size) and sets the version of programs that would otherwise call themselves
// unversioned and mislead whoever compares versions.
func buildFlags(g Group, gomod []byte) ([]string, error) {
	ld := "-s -w"
	if g.VersionOf != "" {
		version, ok := moduleVersion(gomod, g.VersionOf)
		if !ok {
			return nil, fmt.Errorf("go.mod does not require %s", g.VersionOf)
		}
		set, err := versionFlags(g.VersionOf, version)
		if err != nil {
			return nil, fmt.Errorf("go.mod: %w", err)
		}
		ld += set
	}
	return []string{"-trimpath", "-ldflags", ld}, nil
}

// versionFlags are the linker's flags that set a module's version. The variables are those of
// https://github.com/kubernetes/component-base/blob/v0.36.3/version/base.go, whose build date is fixed so that equal inputs give
// equal programs, and of https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/buildinfo/buildinfo.go.
func versionFlags(module, version string) (string, error) {
	if module == "github.com/vmware-tanzu/velero" {
		return " -X " + module + "/pkg/buildinfo.Version=" + version, nil
	}
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) != 3 {
		return "", fmt.Errorf("version %q of %s is not vMAJOR.MINOR.PATCH", version, module)
	}
	const p = "k8s.io/component-base/version"
	return fmt.Sprintf(" -X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s -X %s.gitTreeState=clean -X %s.buildDate=1970-01-01T00:00:00Z",
		p, version, p, parts[0], p, parts[1], p, p), nil
}
