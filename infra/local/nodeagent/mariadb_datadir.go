package nodeagent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// mariaDir is a volume with a MariaDB server's data directory, its certificate and its temporary files beside one another.
type mariaDir struct {
	site
	programs mariadb.Programs
}

func (d *mariaDir) data() string { return filepath.Join(d.volume, "mariadb") }
func (d *mariaDir) keys() string { return filepath.Join(d.volume, "tls") }
func (d *mariaDir) temp() string { return filepath.Join(d.volume, "tmp") }

func (d *mariaDir) environ() []string {
	return append(minimalEnv(), "LC_ALL=C", "TMPDIR="+d.temp())
}

// prepare makes the volume such that a server can be started on it. Locks on the files of a killed server went with it, and those of
// a server that runs on the volume a copy was taken from are on other files: nothing stale is to be removed but temporary files.
func (d *mariaDir) prepare(ctx context.Context) error {
	if err := d.fresh(d.temp()); err != nil {
		return err
	}
	if err := d.certificate(); err != nil {
		return err
	}
	ok, err := d.holds(d.data(), "ibdata1")
	if err != nil {
		return err
	}
	if !ok {
		return d.create(ctx)
	}
	return d.as.own(d.data(), true)
}

// certificate makes one where the volume has none; a restored volume keeps that of its snapshot.
func (d *mariaDir) certificate() error {
	if _, err := os.Stat(filepath.Join(d.keys(), mariadb.KeyFile)); err == nil {
		return d.as.own(d.keys(), true)
	}
	tmp := d.keys() + ".new"
	if err := d.fresh(tmp); err != nil {
		return err
	}
	if err := mariadb.WriteCertificate(tmp, time.Now()); err != nil {
		return err
	}
	if err := d.as.own(tmp, true); err != nil {
		return err
	}
	if err := os.RemoveAll(d.keys()); err != nil {
		return err
	}
	return os.Rename(tmp, d.keys())
}

// create makes a new database.
func (d *mariaDir) create(ctx context.Context) error {
	if d.env["MARIADB_ROOT_PASSWORD"] == "" {
		return errors.New("the volume is empty and MARIADB_ROOT_PASSWORD is not set, expected a password for root")
	}
	sql, err := d.programs.InitSQL(mariadb.Accounts{RootPassword: d.env["MARIADB_ROOT_PASSWORD"], Database: d.env["MARIADB_DATABASE"],
		User: d.env["MARIADB_USER"], Password: d.env["MARIADB_PASSWORD"]})
	if err != nil {
		return err
	}
	return d.initialise(ctx, d.data(), func(ctx context.Context, tmp string) error {
		return d.tool(ctx, command{name: "mariadbd --bootstrap", path: d.programs.Server, args: d.programs.InitArgs(tmp), dir: tmp, stdin: sql, env: d.environ()})
	})
}
