package mariadb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs are those of one installation.
type Programs struct {
	// Server is mariadbd's path.
	Server string
	// Base and Share are what the server calls basedir and where its messages, character sets and SQL scripts are.
	Base, Share string
	// Version is what the program says of itself, e.g. "11.4.5-MariaDB".
	Version string
}

// Finder finds the programs.
type Finder struct {
	// Cache keeps what was brought; empty: the user's cache directory.
	Cache string
	// Place is a directory that whoever runs the server may enter. What was brought is linked there when it lies where they may not.
	Place string
	// MayEnter tells whether whoever runs the server may enter a directory; nil: any.
	MayEnter func(dir string) error
	// Roots are searched after PATH; nil: where distributions put servers.
	Roots []string
}

// roots have the server in sbin, libexec or bin, and its share directory beside.
var roots = []string{"/usr", "/usr/local", "/usr/local/mysql", "/usr/local/mariadb", "/opt/homebrew", "/opt/homebrew/opt/mariadb"}

// Find looks on the machine and in the cache, and brings the programs when they are in neither.
func (f Finder) Find(ctx context.Context) (Programs, error) {
	p, why := f.local(ctx)
	if p.Server != "" {
		return p, nil
	}
	p, err := f.fromCache(ctx)
	if err != nil {
		return Programs{}, errors.Join(errors.New("MariaDB's server is not on this machine and could not be brought: install it "+
			"(Debian: mariadb-server-core), or Maven (mvn)"), why, err)
	}
	return p, nil
}

// local is the machine's own. The error tells what is wrong with servers that are there and cannot be used.
func (f Finder) local(ctx context.Context) (Programs, error) {
	var all []string
	for _, name := range []string{"mariadbd", "mysqld"} {
		if s, err := exec.LookPath(name); err == nil {
			all = append(all, s)
		}
	}
	dirs := f.Roots
	if dirs == nil {
		dirs = roots
	}
	for _, r := range dirs {
		for _, d := range []string{"sbin", "libexec", "bin"} {
			for _, name := range []string{"mariadbd", "mysqld"} {
				all = append(all, filepath.Join(r, d, name))
			}
		}
	}
	var bad error
	for _, s := range all {
		s, err := filepath.EvalSymlinks(s)
		if err != nil || !runnable(s) {
			continue
		}
		p, err := f.installation(ctx, s)
		if err == nil {
			return p, nil
		}
		bad = errors.Join(bad, err)
	}
	return Programs{}, bad
}

// installation completes a server's path, and runs it once: it may be MySQL, or miss a library.
func (f Finder) installation(ctx context.Context, server string) (Programs, error) {
	if f.MayEnter != nil {
		if err := f.MayEnter(filepath.Dir(server)); err != nil {
			return Programs{}, err
		}
	}
	base := filepath.Dir(filepath.Dir(server))
	for _, s := range []string{"share", "share/mysql", "share/mariadb"} {
		share := filepath.Join(base, s)
		if _, err := scripts(share); err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, server, "--no-defaults", "--version").CombinedOutput()
		if err != nil {
			return Programs{}, fmt.Errorf("%s --version: %w: %s", server, err, strings.TrimSpace(string(out)))
		}
		v, ok := versionOf(string(out))
		if !ok {
			return Programs{}, fmt.Errorf("%s is no MariaDB server: %s", server, strings.TrimSpace(string(out)))
		}
		return Programs{Server: server, Base: base, Share: share, Version: v}, nil
	}
	return Programs{}, fmt.Errorf("%s has no SQL scripts for a new data directory beside it", server)
}

// versionOf reads "…/mariadbd  Ver 11.4.5-MariaDB for linux-systemd on x86_64 (MariaDB Server)".
func versionOf(out string) (string, bool) {
	_, v, _ := strings.Cut(out, "  Ver ")
	v, _, _ = strings.Cut(strings.TrimSpace(v), " ")
	return v, strings.Contains(v, "MariaDB")
}

func runnable(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
}
