package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fallbackchain.io/fallback/shared/plan"
)

// postgres speaks with PostgreSQL. The transaction is begun READ ONLY and reads back transaction_read_only; statements are bounded by
// statement_timeout. Read-only is no protection against a superuser, who can still write files and run programs (COPY ... TO,
// https://www.postgresql.org/docs/current/sql-copy.html), so such a role is refused.
type postgres struct {
	conn *pgconn.PgConn
	stop func() bool
}

// noTLS is what pgconn says when a server does not offer TLS.
const noTLS = "server refused TLS connection"

func openPostgres(ctx context.Context, t Target) (engine, error) {
	cfg, err := postgresConfig(t)
	if err != nil {
		return nil, err
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	p := &postgres{conn: conn}
	if err != nil {
		if t.TLS == plan.TLSRequire && strings.Contains(err.Error(), noTLS) {
			return nil, tlsRequired()
		}
		return nil, p.classify(ctx, err)
	}
	// A forwarded stream knows no deadlines: only closing it ends a read that hangs.
	p.stop = context.AfterFunc(ctx, func() { _ = conn.Conn().Close() })
	return p, nil
}

func tlsRequired() error {
	return &Refused{TLSNotOffered, "the server offers no TLS, and the plan says tls: Require"}
}

// postgresConfig names every setting: nothing is taken from the environment of the process (PGHOST, PGPASSWORD, PGOPTIONS ...).
// https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION: prefer and require verify no certificate.
func postgresConfig(t Target) (*pgconn.Config, error) {
	mode := "prefer"
	if t.TLS == plan.TLSRequire {
		mode = "require"
	}
	cfg, err := pgconn.ParseConfig("host=pod port=5432 user=x dbname=x target_session_attrs=any passfile=/dev/null sslcert='' sslkey='' sslrootcert='' sslpassword='' connect_timeout=15 sslmode=" + mode)
	if err != nil {
		return nil, fmt.Errorf("database connection: %w", err)
	}
	cfg.User, cfg.Password, cfg.Database = t.Credentials.Username, t.Credentials.Password, t.Database
	cfg.RuntimeParams = map[string]string{
		"application_name": "fallback-chain",
		// Also for what a validation query may begin after the transaction was ended behind our back.
		"default_transaction_read_only": "on",
		"client_encoding":               "UTF8",
		// A time is written with its offset, and one without a zone is UTC.
		"timezone":  "UTC",
		"datestyle": "ISO",
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return t.Dial(ctx) }
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"pod"}, nil }
	return cfg, nil
}

func (p *postgres) close(ctx context.Context) {
	p.stop()
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Conn().Close() })
	defer stop()
	_ = p.conn.Close(ctx) // the connection is gone either way
}

func (p *postgres) about(ctx context.Context) (server string, replica bool, err error) {
	server = "PostgreSQL " + p.conn.ParameterStatus("server_version")
	if server == "PostgreSQL " {
		server = "PostgreSQL (version unknown)"
	}
	v, err := p.value(ctx, "SELECT pg_catalog.pg_is_in_recovery()")
	return server, v == "t", err
}

// value runs a statement that answers one row of one column.
func (p *postgres) value(ctx context.Context, sql string) (string, error) {
	v, null, err := p.one(ctx, sql)
	if err == nil && null {
		err = fmt.Errorf("%s: it answered NULL", sql)
	}
	return string(v), err
}

// one runs a single statement: the extended protocol takes no second one
// (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY).
func (p *postgres) one(ctx context.Context, sql string) (value []byte, null bool, err error) {
	return single(p.conn.ExecParams(ctx, sql, nil, nil, nil, nil))
}

// single reads one row of one column. The value comes as text.
func single(rr *pgconn.ResultReader) (value []byte, null bool, err error) {
	rows, cols := 0, len(rr.FieldDescriptions())
	for rr.NextRow() {
		rows++
		if vs := rr.Values(); rows == 1 && len(vs) == 1 {
			null, value = vs[0] == nil, bytes.Clone(vs[0])
		}
		cols = len(rr.Values())
	}
	if _, err := rr.Close(); err != nil {
		return nil, false, err
	}
	if rows != 1 || cols != 1 {
		return nil, false, &shapeError{rows, cols}
	}
	return value, null, nil
}

func (p *postgres) exec(ctx context.Context, sql string) error {
	rr := p.conn.ExecParams(ctx, sql, nil, nil, nil, nil)
	for rr.NextRow() {
	}
	_, err := rr.Close()
	return err
}

// writers finds what lets the role write in spite of a read-only transaction: being or being able to become a superuser, and the
// predefined roles that write files and run programs on the server
// (https://www.postgresql.org/docs/current/predefined-roles.html).
const writers = `SELECT coalesce(string_agg(rolname, ', ' ORDER BY rolname), '') FROM pg_catalog.pg_roles
	WHERE (rolsuper OR rolname IN ('pg_write_server_files', 'pg_execute_server_program')) AND pg_catalog.pg_has_role(session_user, oid, 'MEMBER')`

func (p *postgres) refuseWriters(ctx context.Context) error {
	super, err := p.value(ctx, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user")
	if err != nil {
		return err
	}
	if super != "f" {
		return &Refused{RoleRefused, "the role is a superuser: a read-only transaction does not keep it from writing files or running programs; use a role without superuser"}
	}
	members, err := p.value(ctx, writers)
	if err != nil {
		return err
	}
	if members != "" {
		return &Refused{RoleRefused, fmt.Sprintf("the role is a member of %s: a read-only transaction does not keep it from writing files or running programs", members)}
	}
	return nil
}

func (p *postgres) begin(ctx context.Context, bound time.Duration) error {
	if err := p.refuseWriters(ctx); err != nil {
		return err
	}
	ms := fmt.Sprint(bound.Milliseconds())
	for _, sql := range []string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL statement_timeout = " + ms, "SET LOCAL lock_timeout = " + ms} {
		if err := p.exec(ctx, sql); err != nil {
			return err
		}
	}
	for _, back := range []struct{ setting, sql, want string }{
		{"transaction_read_only", "SELECT pg_catalog.current_setting('transaction_read_only')", "on"},
		// pg_settings has the timeout in its base unit, milliseconds (https://www.postgresql.org/docs/current/view-pg-settings.html).
		{"statement_timeout", "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'", ms},
	} {
		got, err := p.value(ctx, back.sql)
		if err != nil {
			return err
		}
		if got != back.want {
			return &Refused{NotReadOnly, fmt.Sprintf("%s reads back as %q, expected %q", back.setting, got, back.want)}
		}
	}
	return nil
}

// ask sets a savepoint first: it keeps a query that fails from failing the next. The server tells how many columns the query answers
// before it is run, so that what is no query (LOCK TABLE, DO, SET) is not.
func (p *postgres) ask(ctx context.Context, sql string) (answer, error) {
	if err := p.exec(ctx, "SAVEPOINT fallback_check"); err != nil {
		return answer{}, err
	}
	v, null, err := p.query(ctx, sql)
	var pg *pgconn.PgError
	var shape *shapeError
	switch {
	case errors.As(err, &pg) && !strings.HasPrefix(pg.Code, "57P") && ctx.Err() == nil:
		return answer{refusal: postgresMessage(pg), code: postgresCode(err)}, nil
	case errors.As(err, &shape):
		return answer{refusal: shape.Error(), code: shape.Error()}, nil
	case err != nil:
		return answer{}, err
	}
	return answer{value: v, null: null}, nil
}

func (p *postgres) query(ctx context.Context, sql string) (value []byte, null bool, err error) {
	known, err := p.conn.Prepare(ctx, "", sql, nil)
	if err != nil {
		return nil, false, err
	}
	if len(known.Fields) != 1 {
		return nil, false, &shapeError{-1, len(known.Fields)}
	}
	return single(p.conn.ExecPrepared(ctx, "", nil, nil, nil))
}

func (p *postgres) still(ctx context.Context) (why string, err error) {
	if st := p.conn.TxStatus(); st != 'T' && st != 'E' {
		return "ended the read-only transaction", nil
	}
	if err := p.exec(ctx, "ROLLBACK TO SAVEPOINT fallback_check"); err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) {
			return "ended the read-only transaction: " + postgresMessage(pg), nil
		}
		return "", err
	}
	ro, err := p.value(ctx, "SELECT pg_catalog.current_setting('transaction_read_only')")
	if err == nil && ro != "on" {
		why = fmt.Sprintf("made transaction_read_only read back as %q, expected \"on\"", ro)
	}
	return why, err
}

func (p *postgres) end(ctx context.Context) { _ = p.exec(ctx, "ROLLBACK") }

// classify tells what may go away from what does not. SQLSTATE class 08 is a connection exception, 53 a lack of resources, 57P the
// operator's intervention (starting up, shutting down), https://www.postgresql.org/docs/current/errcodes-appendix.html.
func (p *postgres) classify(ctx context.Context, err error) error {
	var refused *Refused
	var shape *shapeError
	var gone *Unreachable
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &refused), errors.As(err, &shape), errors.As(err, &gone):
		return err
	case ctx.Err() != nil:
		return &Unreachable{fmt.Errorf("%w (%w)", plain(err), context.Cause(ctx))}
	case errors.As(err, &pg):
		if strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53") || strings.HasPrefix(pg.Code, "57P") {
			return &Unreachable{errors.New(postgresMessage(pg))}
		}
		return errors.New(postgresMessage(pg))
	default:
		return &Unreachable{plain(err)}
	}
}

// plain takes what pgx says of the connection's settings (host, user, database) off a connect error.
func plain(err error) error {
	var c *pgconn.ConnectError
	if errors.As(err, &c) {
		return c.Unwrap()
	}
	return err
}

func postgresMessage(e *pgconn.PgError) string {
	return fmt.Sprintf("%s: %s (SQLSTATE %s)", e.Severity, e.Message, e.Code)
}

// postgresCode is a server's error without its words; "" for another error.
func postgresCode(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return ""
	}
	return fmt.Sprintf("the server refused the query (SQLSTATE %s)", pg.Code)
}
