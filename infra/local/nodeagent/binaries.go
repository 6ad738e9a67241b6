package nodeagent

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
	"sync"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// binaries finds PostgreSQL's programs: on the machine, else brought from Maven Central by the embedded-postgres library
// (https://github.com/fergusstrange/embedded-postgres) into cache.
type binaries struct {
	cache string
	runAs Identity
	// debian is where distributions keep one directory a major version; empty: /usr/lib/postgresql.
	debian string

	mu    sync.Mutex
	found map[string]*search
}

// search is one for a major version; others wait for it.
type search struct {
	over chan struct{}
	dir  string
	err  error
}

// fetchable are the versions the library is asked for, by major version; its own names of them.
var fetchable = map[string]embedded.PostgresVersion{
	"14": embedded.V14, "15": embedded.V15, "16": embedded.V16, "17": embedded.V17, "18": embedded.V18,
}

// dir is the directory of initdb and postgres of a major version; "" takes any. A search that failed is made again by the next
// call.
func (b *binaries) dir(ctx context.Context, major string) (string, error) {
	b.mu.Lock()
	s := b.found[major]
	if s == nil {
		s = &search{over: make(chan struct{})}
		if b.found == nil {
			b.found = map[string]*search{}
		}
		b.found[major] = s
		// The library's download takes no context: it goes on when its caller has left, for the next one.
		go b.search(context.WithoutCancel(ctx), major, s)
	}
	b.mu.Unlock()
	select {
	case <-s.over:
		return s.dir, s.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (b *binaries) search(ctx context.Context, major string, s *search) {
	defer close(s.over)
	s.dir, s.err = b.local(ctx, major)
	if s.dir == "" && s.err == nil {
		s.dir, s.err = b.fetch(major)
	}
	if s.err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.found, major)
	}
}

// local looks in PATH and where distributions put them. The newest of several wins.
func (b *binaries) local(ctx context.Context, major string) (string, error) {
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	root := b.debian
	if root == "" {
		root = "/usr/lib/postgresql"
	}
	more, err := filepath.Glob(filepath.Join(root, "*", "bin"))
	if err != nil {
		return "", err
	}
	slices.SortFunc(more, func(x, y string) int { return number(y) - number(x) })
	for _, d := range append(dirs, more...) {
		if !runnable(filepath.Join(d, "postgres")) || !runnable(filepath.Join(d, "initdb")) || b.runAs.CanEnter(d) != nil {
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

func runnable(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
}

// fetch has the library bring the programs. It brings them only on its way to a running server of its own, which is stopped
// again, or, when we are root, does not come about.
func (b *binaries) fetch(major string) (string, error) {
	if major == "" {
		major = "15"
	}
	v, ok := fetchable[major]
	if !ok {
		return "", fmt.Errorf("PostgreSQL %s is not on this machine and cannot be brought, expected one of 14 to 18", major)
	}
	base := filepath.Join(b.cache, major)
	bin := filepath.Join(base, "bin")
	if runnable(filepath.Join(bin, "initdb")) && runnable(filepath.Join(bin, "postgres")) {
		return bin, nil
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	run, err := os.MkdirTemp("", "fallback-postgresql-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(run)
	pg := embedded.NewDatabase(embedded.DefaultConfig().Version(v).Port(uint32(port)).BinariesPath(base).
		CachePath(filepath.Join(b.cache, "download")).RuntimePath(filepath.Join(run, "run")).DataPath(filepath.Join(run, "data")).Logger(io.Discard))
	err = pg.Start()
	if err == nil {
		err = pg.Stop()
	}
	if runnable(filepath.Join(bin, "initdb")) && runnable(filepath.Join(bin, "postgres")) {
		return bin, nil
	}
	return "", errors.Join(fmt.Errorf("PostgreSQL %s is not on this machine and could not be brought: install it, or give access to Maven Central", major), err)
}
