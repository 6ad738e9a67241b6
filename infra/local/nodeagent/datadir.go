package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dataDir is a server's data directory on a volume.
type dataDir struct {
	path  string
	bin   string
	as    Identity
	log   string
	procs *records
	env   map[string]string
}

// initTimeout bounds the making of a new data directory.
const initTimeout = 2 * time.Minute

// major is the version that wrote the directory; of a new one, the version asked for.
func (d *dataDir) major(asked string) string {
	b, err := os.ReadFile(filepath.Join(d.path, "PG_VERSION"))
	if err != nil {
		major, _, _ := strings.Cut(asked, ".")
		if strings.Trim(major, "0123456789") != "" { // "latest", "15-alpine"
			major = strings.TrimRight(strings.SplitN(major, "-", 2)[0], "abcdefghijklmnopqrstuvwxyz")
		}
		return major
	}
	return strings.TrimSpace(string(b))
}

// prepare makes the directory such that a server can be started on it.
func (d *dataDir) prepare(ctx context.Context) error {
	es, err := os.ReadDir(d.path)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case len(es) == 0:
		return d.initialise(ctx)
	}
	if _, err := os.Stat(filepath.Join(d.path, "PG_VERSION")); err != nil {
		return fmt.Errorf("data directory is not empty and holds no database: %w", err)
	}
	// Nobody else may use this volume: it is attached here, and the pod before this one has ended. What is left runs by mistake.
	if err := eachUserDead(d.path); err != nil {
		return fmt.Errorf("processes of an earlier server: %w", err)
	}
	// The lock file then belongs to a server that was killed, or, in a volume made from a snapshot, to one that runs elsewhere
	// on this machine; a server in a container would not see that one.
	if err := os.Remove(filepath.Join(d.path, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return d.owned()
}

// owned makes the directory's user and mode those a server insists on.
func (d *dataDir) owned() error {
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != d.as.UID {
		if err := d.as.own(d.path, true); err != nil {
			return err
		}
	}
	if p := info.Mode().Perm(); p != 0o700 && p != 0o750 {
		return os.Chmod(d.path, 0o700)
	}
	return nil
}

// initialise makes a database beside the directory and gives it its name when it is complete, so that a killed attempt
// leaves nothing that looks like one.
func (d *dataDir) initialise(ctx context.Context) error {
	password := d.env["POSTGRES_PASSWORD"]
	if password == "" {
		return errors.New("the volume is empty and POSTGRES_PASSWORD is not set, expected a password for the first user")
	}
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	tmp := d.path + ".new"
	for _, p := range []string{tmp, d.path} {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	if err := d.as.own(tmp, false); err != nil {
		return err
	}
	pw := d.path + ".password"
	defer os.Remove(pw)
	if err := os.WriteFile(pw, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	if err := d.as.own(pw, false); err != nil {
		return err
	}
	args := []string{"-D", tmp, "-U", userOf(d.env), "--pwfile", pw, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"}
	args = append(args, strings.Fields(d.env["POSTGRES_INITDB_ARGS"])...)
	if err := d.tool(ctx, "initdb", "", args...); err != nil {
		return err
	}
	if db := databaseOf(d.env); db != "postgres" {
		sql := `CREATE DATABASE "` + strings.ReplaceAll(db, `"`, `""`) + "\"\n"
		if err := d.tool(ctx, "postgres", sql, "--single", "-D", tmp, "-c", "fsync=off", "-j", "postgres"); err != nil {
			return err
		}
	}
	if err := d.listen(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, d.path)
}

// listen lets every client in with its password, as the image does; the server itself listens on the loopback interface only.
func (d *dataDir) listen(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\nhost all all all scram-sha-256\n")
	return errors.Join(err, f.Close())
}

// tool runs one of PostgreSQL's programs to its end.
func (d *dataDir) tool(ctx context.Context, name, stdin string, args ...string) error {
	ch, err := d.procs.run(command{name: name, path: filepath.Join(d.bin, name), args: args, dir: "/", stdin: stdin,
		env: append(minimalEnv(), "LC_ALL=C"), as: d.as, log: d.log})
	if err != nil {
		return err
	}
	select {
	case <-ch.exited():
	case <-ctx.Done():
		ch.kill()
		return context.Cause(ctx)
	}
	if ch.failed {
		return ch.err()
	}
	return nil
}
