package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// mariaDir is a volume with a MariaDB server's data directory, its certificate and its temporary files beside one another.
type mariaDir struct {
	dir      string
	programs mariadb.Programs
	as       Identity
	log      string
	procs    *records
	env      map[string]string
}

func (d *mariaDir) data() string { return filepath.Join(d.dir, "mariadb") }
func (d *mariaDir) keys() string { return filepath.Join(d.dir, "tls") }
func (d *mariaDir) temp() string { return filepath.Join(d.dir, "tmp") }

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
	es, err := os.ReadDir(d.data())
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case len(es) == 0:
		return d.initialise(ctx)
	}
	if _, err := os.Stat(filepath.Join(d.data(), "ibdata1")); err != nil {
		return fmt.Errorf("data directory is not empty and holds no database: %w", err)
	}
	// Nobody else may use this volume: it is attached here, and the pod before this one has ended. What is left runs by mistake.
	if err := eachUserDead(d.data()); err != nil {
		return fmt.Errorf("processes of an earlier server: %w", err)
	}
	return d.as.own(d.data(), true)
}

// fresh makes a directory of the server's user, empty.
func (d *mariaDir) fresh(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return d.as.own(dir, false)
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

// initialise makes a database beside the directory and gives it its name when it is complete, so that a killed attempt leaves nothing
// that looks like one.
func (d *mariaDir) initialise(ctx context.Context) error {
	if d.env["MARIADB_ROOT_PASSWORD"] == "" {
		return errors.New("the volume is empty and MARIADB_ROOT_PASSWORD is not set, expected a password for root")
	}
	sql, err := d.programs.InitSQL(mariadb.Accounts{RootPassword: d.env["MARIADB_ROOT_PASSWORD"], Database: d.env["MARIADB_DATABASE"],
		User: d.env["MARIADB_USER"], Password: d.env["MARIADB_PASSWORD"]})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	tmp := d.data() + ".new"
	if err := d.fresh(tmp); err != nil {
		return err
	}
	ch, err := d.procs.run(command{name: "mariadbd --bootstrap", path: d.programs.Server, args: d.programs.InitArgs(tmp), dir: tmp,
		stdin: sql, env: d.environ(), as: d.as, log: d.log})
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
	if err := os.RemoveAll(d.data()); err != nil { // it is empty
		return err
	}
	return os.Rename(tmp, d.data())
}
