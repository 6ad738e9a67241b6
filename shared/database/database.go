// Package database asks a workload's database, read-only, whether its data is there. PostgreSQL only: the transaction is
// read-only on the server (BEGIN READ ONLY, read back), statements are bounded on the server (statement_timeout, read back),
// and it always ends in a rollback. Read-only is no protection against a superuser, who can still write files and run
// programs (COPY ... TO, https://www.postgresql.org/docs/current/sql-copy.html), so such a role is refused.
package database

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fallbackchain.io/fallback/shared/plan"
)

// Dial opens a connection to the database's port. It is called once or twice: the second time without TLS, when the server offers
// none.
type Dial func(ctx context.Context) (net.Conn, error)

// Credentials of the role that validates. They appear in no error and no result.
type Credentials struct {
	Username, Password string
}

// Target is one database to ask.
type Target struct {
	Dial        Dial
	Database    string
	Credentials Credentials
	// StatementTimeout bounds each statement on the server, in whole milliseconds, at least one.
	StatementTimeout time.Duration
}

// Unreachable is an error that may go away: the server refuses connections, is starting up, or the connection broke.
type Unreachable struct{ Err error }

func (u *Unreachable) Error() string { return "the database cannot be reached: " + u.Err.Error() }
func (u *Unreachable) Unwrap() error { return u.Err }

// Session is one connection. It is closed when its context ends.
type Session struct {
	conn *pgconn.PgConn
	// Server is what the database says of itself, e.g. "PostgreSQL 15.18".
	Server string
	// InRecovery tells that the server is a standby.
	InRecovery bool
	timeout    time.Duration
	stop       func() bool
}

// closeTimeout bounds the goodbye to the server.
const closeTimeout = 2 * time.Second

// Open connects and asks who the server is. TLS is used when the server offers it, as sslmode=prefer does
// (https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION); the server's certificate is not verified: the way
// there is the Kubernetes API's own, to a pod of known UID.
func Open(ctx context.Context, t Target) (*Session, error) {
	if t.StatementTimeout < time.Millisecond {
		return nil, fmt.Errorf("statement timeout %s: expected at least 1ms", t.StatementTimeout)
	}
	cfg, err := config(t)
	if err != nil {
		return nil, err
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, classify(ctx, err)
	}
	s := &Session{conn: conn, timeout: t.StatementTimeout}
	// A forwarded stream knows no deadlines: only closing it ends a read that hangs.
	s.stop = context.AfterFunc(ctx, func() { _ = conn.Conn().Close() })
	s.Server = "PostgreSQL " + conn.ParameterStatus("server_version")
	if s.Server == "PostgreSQL " {
		s.Server = "PostgreSQL (version unknown)"
	}
	v, err := s.value(ctx, "SELECT pg_is_in_recovery()")
	if err != nil {
		s.Close()
		return nil, classify(ctx, err)
	}
	s.InRecovery = v == "t"
	return s, nil
}

// config names every setting: nothing is taken from the environment of the process (PGHOST, PGPASSWORD, PGOPTIONS ...).
func config(t Target) (*pgconn.Config, error) {
	cfg, err := pgconn.ParseConfig("host=pod port=5432 user=x dbname=x sslmode=prefer target_session_attrs=any passfile=/dev/null sslcert='' sslkey='' sslrootcert='' sslpassword='' connect_timeout=15")
	if err != nil {
		return nil, fmt.Errorf("database connection: %w", err)
	}
	cfg.User, cfg.Password, cfg.Database = t.Credentials.Username, t.Credentials.Password, t.Database
	cfg.RuntimeParams = map[string]string{
		"application_name": "fallback-chain",
		// Also for what a validation query may begin after the transaction was ended behind our back.
		"default_transaction_read_only": "on",
		"client_encoding":               "UTF8",
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return t.Dial(ctx) }
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"pod"}, nil }
	return cfg, nil
}

// Close ends the session. What is open is rolled back by the server.
func (s *Session) Close() {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Conn().Close() })
	defer stop()
	_ = s.conn.Close(ctx) // the connection is gone either way
}

// value runs a statement that answers one row of one column.
func (s *Session) value(ctx context.Context, sql string) (string, error) {
	v, null, err := s.one(ctx, sql)
	if err == nil && null {
		err = fmt.Errorf("%s: it answered NULL", sql)
	}
	return v, err
}

// shapeError tells that a query did not answer one row of one column.
type shapeError struct{ text string }

func (e *shapeError) Error() string { return e.text }

// one runs a single statement: the extended protocol takes no second one
// (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY). The value comes as text.
func (s *Session) one(ctx context.Context, sql string) (value string, null bool, err error) {
	rr := s.conn.ExecParams(ctx, sql, nil, nil, nil, nil)
	rows, cols := 0, len(rr.FieldDescriptions())
	for rr.NextRow() {
		rows++
		if vs := rr.Values(); rows == 1 && len(vs) == 1 {
			null, value = vs[0] == nil, string(vs[0])
		}
		cols = len(rr.Values())
	}
	if _, err := rr.Close(); err != nil {
		return "", false, err
	}
	if rows != 1 || cols != 1 {
		return "", false, &shapeError{fmt.Sprintf("%d rows of %d columns", rows, cols)}
	}
	return value, null, nil
}

// Run asks every query in one read-only transaction, which is rolled back. err is for what keeps the transaction itself from
// being made; a query that fails is a failed Result.
func (s *Session) Run(ctx context.Context, queries []plan.Query) ([]Result, error) {
	if err := s.refuseWriters(ctx); err != nil {
		return nil, classify(ctx, err)
	}
	if err := s.begin(ctx); err != nil {
		return nil, classify(ctx, err)
	}
	defer func() { _, _, _ = s.one(ctx, "ROLLBACK") }()
	var out []Result
	for _, q := range queries {
		r, err := s.query(ctx, q)
		if err != nil {
			return out, classify(ctx, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Refused is an error that no retry mends: the role may write, or the server did not make the transaction read-only.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return r.Reason }

// writers finds what lets the role write in spite of a read-only transaction: being or being able to become a superuser, and the
// predefined roles that write files and run programs on the server
// (https://www.postgresql.org/docs/current/predefined-roles.html).
const writers = `SELECT coalesce(string_agg(rolname, ', ' ORDER BY rolname), '') FROM pg_catalog.pg_roles
	WHERE (rolsuper OR rolname IN ('pg_write_server_files', 'pg_execute_server_program')) AND pg_catalog.pg_has_role(session_user, oid, 'MEMBER')`

func (s *Session) refuseWriters(ctx context.Context) error {
	super, err := s.value(ctx, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user")
	if err != nil {
		return err
	}
	if super != "f" {
		return &Refused{"the role is a superuser: a read-only transaction does not keep it from writing files or running programs; use a role without superuser"}
	}
	members, err := s.value(ctx, writers)
	if err != nil {
		return err
	}
	if members != "" {
		return &Refused{fmt.Sprintf("the role is a member of %s: a read-only transaction does not keep it from writing files or running programs", members)}
	}
	return nil
}

// begin opens the transaction and reads back that the server holds to it.
func (s *Session) begin(ctx context.Context) error {
	ms := fmt.Sprint(s.timeout.Milliseconds())
	for _, sql := range []string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL statement_timeout = " + ms, "SET LOCAL lock_timeout = " + ms} {
		if err := s.exec(ctx, sql); err != nil {
			return err
		}
	}
	for _, back := range []struct{ setting, sql, want string }{
		{"transaction_read_only", "SELECT pg_catalog.current_setting('transaction_read_only')", "on"},
		// pg_settings has the timeout in its base unit, milliseconds (https://www.postgresql.org/docs/current/view-pg-settings.html).
		{"statement_timeout", "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'", ms},
	} {
		got, err := s.value(ctx, back.sql)
		if err != nil {
			return err
		}
		if got != back.want {
			return &Refused{fmt.Sprintf("%s reads back as %q, expected %q", back.setting, got, back.want)}
		}
	}
	return nil
}

func (s *Session) exec(ctx context.Context, sql string) error {
	rr := s.conn.ExecParams(ctx, sql, nil, nil, nil, nil)
	for rr.NextRow() {
	}
	_, err := rr.Close()
	return err
}

// classify tells what may go away from what does not. SQLSTATE class 08 is a connection exception, 53 a lack of resources, 57P the
// operator's intervention (starting up, shutting down), https://www.postgresql.org/docs/current/errcodes-appendix.html.
func classify(ctx context.Context, err error) error {
	var refused *Refused
	var shape *shapeError
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &refused), errors.As(err, &shape):
		return err
	case ctx.Err() != nil:
		return &Unreachable{fmt.Errorf("%w (%w)", plain(err), context.Cause(ctx))}
	case errors.As(err, &pg):
		if strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53") || strings.HasPrefix(pg.Code, "57P") {
			return &Unreachable{errors.New(message(pg))}
		}
		return errors.New(message(pg))
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

func message(e *pgconn.PgError) string {
	return fmt.Sprintf("%s: %s (SQLSTATE %s)", e.Severity, e.Message, e.Code)
}
