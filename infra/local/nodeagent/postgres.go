package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	pgprograms "fallbackchain.io/fallback/shared/database/pgtest/postgres"
)

// postgresPort is what a container of the image listens on when it declares no port.
const postgresPort = 5432

// postgres is the engine of PostgresImage. It takes the image's variables POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB and
// POSTGRES_INITDB_ARGS (https://hub.docker.com/_/postgres), which count only while the volume is empty.
type postgres struct {
	// programs are in the directory that is found.
	programs *binaries[string]
	// tag is the image's: the major version wanted.
	tag string
}

func findPostgres(cache string, runAs Identity) *binaries[string] {
	return &binaries[string]{find: pgprograms.Finder{Cache: cache, MayEnter: runAs.CanEnter}.Find}
}

func (p *postgres) prepare(ctx context.Context, on site) (*recipe, error) {
	d := dataDir{site: on}
	var err error
	if d.bin, err = p.programs.of(ctx, d.major(p.tag)); err != nil {
		return nil, err
	}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	return &recipe{name: "postgres", version: "PostgreSQL " + d.major(p.tag), listens: postgresPort,
		path: filepath.Join(d.bin, "postgres"), dir: d.data(), env: append(minimalEnv(), "LC_ALL=C"), until: pgprograms.ReadyLine,
		args: func(port int) []string {
			return []string{"-D", d.data(), "-p", strconv.Itoa(port),
				"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
				// The processes may die at any time, the machine does not: what reached the kernel is not lost.
				"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c", "lc_messages=C",
				"-c", "logging_collector=off", "-c", "log_destination=stderr"}
		},
		stopWith: syscall.SIGINT, // fast shutdown, https://www.postgresql.org/docs/current/server-shutdown.html
	}, nil
}

func (*postgres) answers(ctx context.Context, env map[string]string, port int) error {
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d dbname=postgres user=readiness sslmode=disable", port))
	if err != nil {
		return err
	}
	cfg.User, cfg.Password, cfg.Database = userOf(env), env["POSTGRES_PASSWORD"], databaseOf(env)
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	var said *pgconn.PgError
	switch {
	case err == nil:
		_ = conn.Close(ctx)
	case errors.As(err, &said) && (strings.HasPrefix(said.Code, "28") || said.Code == "3D000"): // no such user, password or database
	default:
		return err
	}
	return nil
}

func userOf(env map[string]string) string {
	if u := env["POSTGRES_USER"]; u != "" {
		return u
	}
	return "postgres"
}

func databaseOf(env map[string]string) string {
	if d := env["POSTGRES_DB"]; d != "" {
		return d
	}
	return userOf(env)
}
