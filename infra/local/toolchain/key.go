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
	key   string   // digest of go.mod, go.sum, the flags, the platform and the group's own definition
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
	h := sha256.New()
	for _, part := range []string{layout, runtime.GOOS, runtime.GOARCH, string(mod), string(sum), strings.Join(r.flags, "\n"), fmt.Sprint(g)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	r.key = g.Name + "-" + hex.EncodeToString(h.Sum(nil))[:16]
	return r, nil
}

// buildFlags strips symbols and paths (a third of the size) and, for Kubernetes, sets the version, without which the server
// calls itself v0.0.0-master and clients that compare versions are misled. The variables are those of
// https://github.com/kubernetes/component-base/blob/v0.36.3/version/base.go; the build date is fixed so that equal inputs give
// equal programs.
func buildFlags(g Group, gomod []byte) ([]string, error) {
	ld := "-s -w"
	if g.VersionOf != "" {
		version, ok := moduleVersion(gomod, g.VersionOf)
		if !ok {
			return nil, fmt.Errorf("go.mod does not require %s", g.VersionOf)
		}
		parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("go.mod: version %q of %s is not vMAJOR.MINOR.PATCH", version, g.VersionOf)
		}
		const p = "k8s.io/component-base/version"
		ld += fmt.Sprintf(" -X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s -X %s.gitTreeState=clean -X %s.buildDate=1970-01-01T00:00:00Z",
			p, version, p, parts[0], p, parts[1], p, p)
	}
	return []string{"-trimpath", "-ldflags", ld}, nil
}
