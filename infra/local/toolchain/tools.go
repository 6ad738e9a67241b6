package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Tools are the directories of built groups.
type Tools struct {
	dirs []string
}

// Path returns the path of a program.
func (t *Tools) Path(name string) (string, error) {
	for _, d := range t.dirs {
		p := filepath.Join(d, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %s was not built (looked in %s)", name, strings.Join(t.dirs, ", "))
}

// Binaries returns the paths of all programs.
func (t *Tools) Binaries() ([]string, error) {
	var all []string
	for _, d := range t.dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() {
				all = append(all, filepath.Join(d, e.Name()))
			}
		}
	}
	return all, nil
}

// Assets returns the files copied for the asset set named to.
func (t *Tools) Assets(to string) ([]string, error) {
	var all []string
	for _, d := range t.dirs {
		m, err := filepath.Glob(filepath.Join(d, "share", to, "*"))
		if err != nil {
			return nil, err
		}
		all = append(all, m...)
	}
	return all, nil
}

// Ensure returns the tools of the groups, building those the cache does not hold. Cold it compiles Kubernetes and Velero: about a quarter of an
// hour on two cores and 2 GB of the go command's cache; else it takes milliseconds.
func Ensure(ctx context.Context, c Config, groups ...Group) (*Tools, error) {
	c, err := c.resolve()
	if err != nil {
		return nil, err
	}
	t := &Tools{}
	for _, g := range groups {
		dir, err := c.ensure(ctx, g)
		if err != nil {
			return nil, err
		}
		t.dirs = append(t.dirs, dir)
	}
	return t, nil
}

func (c Config) ensure(ctx context.Context, g Group) (string, error) {
	r, err := c.recipe(g)
	if err != nil {
		return "", err
	}
	tools := filepath.Join(c.Cache, "tools")
	dir := filepath.Join(tools, r.key)
	if complete(dir, g) {
		return dir, nil
	}
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return "", fmt.Errorf("cache directory %s: %w", c.Cache, err)
	}
	step := "build " + g.Name
	unlock, err := lock(ctx, filepath.Join(tools, r.key+".lock"), func() {
		c.report(Event{Step: step, Detail: "waiting for another build of the same tools"})
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete(dir, g) { // by whoever held the lock
		return dir, nil
	}
	began := time.Now()
	tmp, err := os.MkdirTemp(tools, "."+r.key+"-")
	if err != nil {
		return "", fmt.Errorf("cache directory %s: %w", c.Cache, err)
	}
	defer os.RemoveAll(tmp)
	if err := c.build(ctx, step, r.dir, append(append([]string{"build", "-v"}, r.flags...), "-o", tmp+string(filepath.Separator), "tool"), "tool"); err != nil {
		return "", fmt.Errorf("build the tools %s: %w", g.Name, err)
	}
	for from, to := range g.Rename {
		if err := os.Rename(filepath.Join(tmp, from), filepath.Join(tmp, to)); err != nil {
			return "", fmt.Errorf("build the tools %s: %w", g.Name, err)
		}
	}
	if err := c.copyAssets(ctx, r.dir, tmp, g.Assets); err != nil {
		return "", fmt.Errorf("build the tools %s: %w", g.Name, err)
	}
	if !complete(tmp, g) {
		return "", fmt.Errorf("build the tools %s: the go command did not write all of %s", g.Name, strings.Join(g.Binaries, ", "))
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil { // incomplete: someone removed files from it
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("move the tools %s to the cache: %w", g.Name, err)
	}
	c.report(Event{Step: step, Elapsed: time.Since(began), Done: true})
	return dir, nil
}

// complete reports whether dir holds every file of a group.
func complete(dir string, g Group) bool {
	for _, b := range g.Binaries {
		if st, err := os.Stat(filepath.Join(dir, b)); err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
			return false
		}
	}
	for _, a := range g.Assets {
		for _, f := range a.Files {
			if _, err := os.Stat(filepath.Join(dir, "share", a.To, filepath.Base(f))); err != nil {
				return false
			}
		}
	}
	return true
}

func (c Config) copyAssets(ctx context.Context, module, dir string, assets []Asset) error {
	for _, a := range assets {
		out, err := goCommand(ctx, module, "list", "-m", "-f", "{{.Dir}}", a.Module)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, "share", a.To)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		for _, f := range a.Files {
			data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), f))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// Mains builds this repository's own programs below infra/local/cmd and returns their paths by name. They are built at every
// call; the go command links only what changed. The files are replaced, never written in place, so a running program is safe.
func Mains(ctx context.Context, c Config) (*Tools, error) {
	c, err := c.resolve()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(c.Source, "infra", "local", "cmd"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no infra/local/cmd", c.Source)
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.Cache, "own", digest(c.Source))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache directory %s: %w", c.Cache, err)
	}
	const step = "build the local stack's programs"
	began := time.Now()
	unlock, err := lock(ctx, dir+".lock", func() { c.report(Event{Step: step, Detail: "waiting for another build"}) })
	if err != nil {
		return nil, err
	}
	defer unlock()
	args := []string{"build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir + string(filepath.Separator)}
	var packages []string
	for _, e := range entries {
		main, err := filepath.Glob(filepath.Join(c.Source, "infra", "local", "cmd", e.Name(), "*.go"))
		if err != nil {
			return nil, err
		}
		if len(main) > 0 {
			packages = append(packages, "./infra/local/cmd/"+e.Name())
		}
	}
	if err := c.build(ctx, step, c.Source, append(args, packages...)); err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	c.report(Event{Step: step, Elapsed: time.Since(began), Done: true})
	return &Tools{dirs: []string{dir}}, nil
}

// lookGo finds the go command.
func lookGo() (string, error) {
	p, err := exec.LookPath("go")
	if err != nil {
		return "", errors.New("the go command was not found in PATH: the first start compiles Kubernetes with Go 1.26 or newer, https://go.dev/dl/")
	}
	return p, nil
}
