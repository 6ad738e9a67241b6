package toolchain

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Module is the path of the Go module whose tree holds the tools.
const Module = "fallbackchain.io/fallback"

// CacheEnv names the environment variable that overrides the cache directory.
const CacheEnv = "FALLBACK_CACHE"

// ErrNoSource means that the source tree, which the tools are built from, was not found.
var ErrNoSource = errors.New("source tree not found")

// FindSource walks up from dir to the directory whose go.mod declares this module.
func FindSource(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the source tree from %q: %w", dir, err)
	}
	for at := start; ; at = filepath.Dir(at) {
		data, err := os.ReadFile(filepath.Join(at, "go.mod"))
		switch {
		case err == nil && modulePath(data) == Module:
			return at, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("find the source tree from %q: %w", start, err)
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%w: no go.mod of %s in %s or above it; run inside a clone of the repository or name it with --source",
				ErrNoSource, Module, start)
		}
	}
}

// CacheDir returns the directory that holds what is built: FALLBACK_CACHE, else fallback-chain in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory (set %s): %w", CacheEnv, err)
	}
	return filepath.Join(base, "fallback-chain"), nil
}

func (c Config) resolve() (Config, error) {
	var err error
	if c.Source == "" {
		if c.Source, err = FindSource("."); err != nil {
			return c, err
		}
	} else if c.Source, err = FindSource(c.Source); err != nil {
		return c, err
	}
	if c.Cache == "" {
		c.Cache, err = CacheDir()
	} else {
		c.Cache, err = filepath.Abs(c.Cache)
	}
	return c, err
}

// modulePath reads the module line of a go.mod.
func modulePath(gomod []byte) string {
	for line := range lines(gomod) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "module" {
			return f[1]
		}
	}
	return ""
}

// moduleVersion reads the version a go.mod requires of a module; replacements are not looked at.
func moduleVersion(gomod []byte, module string) (string, bool) {
	for line := range lines(gomod) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) >= 2 && f[0] == module && strings.HasPrefix(f[1], "v") {
			return f[1], true
		}
	}
	return "", false
}

func lines(text []byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		s := bufio.NewScanner(bytes.NewReader(text))
		for s.Scan() {
			if !yield(s.Text()) {
				return
			}
		}
	}
}
