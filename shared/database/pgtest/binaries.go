package pgtest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// binaries is the directory of initdb and postgres.
func binaries() (string, error) {
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	more, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.Reverse(more)
	for _, d := range append(dirs, more...) {
		if runnable(d) {
			return d, nil
		}
	}
	return fetch()
}

func runnable(dir string) bool {
	for _, n := range []string{"postgres", "initdb"} {
		if st, err := os.Stat(filepath.Join(dir, n)); err != nil || st.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

// fetch has the library bring the programs. It does so on its way to a server of its own, which is stopped again, or, for
// root, does not come about.
func fetch() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base := filepath.Join(cache, "fallback-chain", "pgtest", "15")
	bin := filepath.Join(base, "bin")
	if runnable(bin) {
		return bin, nil
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp("", "fallback-pgtest-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	pg := embedded.NewDatabase(embedded.DefaultConfig().Version(embedded.V15).Port(uint32(port)).BinariesPath(base).
		RuntimePath(filepath.Join(tmp, "run")).DataPath(filepath.Join(tmp, "data")).Logger(io.Discard))
	if err = pg.Start(); err == nil {
		err = pg.Stop()
	}
	if runnable(bin) {
		return bin, nil
	}
	return "", errors.Join(errors.New("it is not on this machine and could not be brought"), err)
}
