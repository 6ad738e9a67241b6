package nodeagent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// dataDir is a PostgreSQL server's data directory on a volume.
type dataDir struct {
	site
	// bin is where the programs are.
	bin string
}

func (d *dataDir) data() string { return filepath.Join(d.volume, "pgdata") }

// major is the version that wrote the directory; of a new one, the version asked for.
func (d *dataDir) major(asked string) string {
	b, err := os.ReadFile(filepath.Join(d.data(), "PG_VERSION"))
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
	ok, err := d.holds(d.data(), "PG_VERSION")
	if err != nil {
		return err
	}
	if !ok {
		return d.create(ctx)
	}
	// The lock file then belongs to a server that was killed, or, in a volume made from a snapshot, to one that runs elsewhere
	// on this machine; a server in a container would not see that one.
	if err := os.Remove(filepath.Join(d.data(), "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return d.owned()
}

// owned makes the directory's user and mode those a server insists on.
func (d *dataDir) owned() error {
	info, err := os.Stat(d.data())
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != d.as.UID {
		if err := d.as.own(d.data(), true); err != nil {
			return err
		}
	}
	if p := info.Mode().Perm(); p != 0o700 && p != 0o750 {
		return os.Chmod(d.data(), 0o700)
	}
	return nil
}

// create makes a new database.
func (d *dataDir) create(ctx context.Context) error {
	password := d.env["POSTGRES_PASSWORD"]
	if password == "" {
		return errors.New("the volume is empty and POSTGRES_PASSWORD is not set, expected a password for the first user")
	}
	pw := d.data() + ".password"
	defer os.Remove(pw)
	if err := os.WriteFile(pw, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	if err := d.as.own(pw, false); err != nil {
		return err
	}
	return d.initialise(ctx, d.data(), func(ctx context.Context, tmp string) error {
		args := []string{"-D", tmp, "-U", userOf(d.env), "--pwfile", pw, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"}
		args = append(args, strings.Fields(d.env["POSTGRES_INITDB_ARGS"])...)
		if err := d.run(ctx, "initdb", "", args...); err != nil {
			return err
		}
		if db := databaseOf(d.env); db != "postgres" {
			sql := `CREATE DATABASE "` + strings.ReplaceAll(db, `"`, `""`) + "\"\n"
			if err := d.run(ctx, "postgres", sql, "--single", "-D", tmp, "-c", "fsync=off", "-j", "postgres"); err != nil {
				return err
			}
		}
		return d.listen(tmp)
	})
}

// run runs one of PostgreSQL's programs to its end.
func (d *dataDir) run(ctx context.Context, name, stdin string, args ...string) error {
	return d.tool(ctx, command{name: name, path: filepath.Join(d.bin, name), args: args, dir: "/", stdin: stdin, env: append(minimalEnv(), "LC_ALL=C")})
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
