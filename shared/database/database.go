// Package database asks a workload's database, read-only, whether its data is there: PostgreSQL, and MySQL or MariaDB. Every query
// of a plan runs in one transaction that is read-only on the server and always ends in a rollback; statements are bounded on the
// server; both are read back. A role that such a transaction does not hold (a superuser, one that may write files) is refused. What
// holds for one engine alone stands beside its code.
package database

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"fallbackchain.io/fallback/shared/plan"
)

// Dial opens a connection to the database's port. It is called once or twice: the second time without TLS, when a PostgreSQL offers
// none.
type Dial func(ctx context.Context) (net.Conn, error)

// Credentials of the role that validates. They appear in no error and no result.
type Credentials struct {
	Username, Password string
}

// Target is one database to ask.
type Target struct {
	Engine      plan.Engine
	Dial        Dial
	Database    string
	Credentials Credentials
	// StatementTimeout bounds each statement on the server, in whole milliseconds, at least one.
	StatementTimeout time.Duration
	// TLS is used when the server offers it; with TLSRequire there is no connection without it. The server's certificate is not
	// verified: the way there is the Kubernetes API's own, to a pod of known UID.
	TLS plan.TLSMode
}

// Unreachable is an error that may go away: the server refuses connections, is starting up, or the connection broke.
type Unreachable struct{ Err error }

func (u *Unreachable) Error() string { return "the database cannot be reached: " + u.Err.Error() }
func (u *Unreachable) Unwrap() error { return u.Err }

// Refused is an error that no retry mends: the role may write, the server offers no TLS where it is required, or it did not make the
// transaction read-only. Code is one of the reasons below.
type Refused struct{ Code, Reason string }

func (r *Refused) Error() string { return r.Reason }

// Codes of Refused.
const (
	RoleRefused   = "RoleRefused"
	TLSNotOffered = "TLSNotOffered"
	NotReadOnly   = "NotReadOnly"
	EngineUnknown = "EngineUnknown"
)

const (
	// closeTimeout bounds the goodbye to the server, connectTimeout the hello.
	closeTimeout   = 2 * time.Second
	connectTimeout = 15 * time.Second
)

// engine is one connection to a server of one kind. Its errors are the driver's own; classify sorts them.
type engine interface {
	// about tells who the server is, e.g. "PostgreSQL 15.18", and whether it is a replica of another one.
	about(ctx context.Context) (server string, replica bool, err error)
	// begin refuses a role that the transaction would not hold, opens the transaction, and reads back that the server holds to it.
	begin(ctx context.Context, bound time.Duration) error
	// ask runs one query within the transaction. An error is a broken connection; the server's refusal is an answer.
	ask(ctx context.Context, sql string) (answer, error)
	// still takes back what the query did to the transaction, and reads back that it is the same one and still read-only. why tells that
	// it is not.
	still(ctx context.Context) (why string, err error)
	// end rolls back.
	end(ctx context.Context)
	// close says goodbye, no longer than its context.
	close(ctx context.Context)
	// classify makes an error Unreachable, Refused, or one that is final.
	classify(ctx context.Context, err error) error
}

// answer is what came of one query.
type answer struct {
	value []byte
	null  bool
	// rounded tells that the value is a number of the driver's, not the server's text.
	rounded bool
	// refusal is why there is no value, in words that may quote the data; code says it without.
	refusal, code string
}

// Session is one connection. It is closed when its context ends.
type Session struct {
	engine engine
	// Server is what the database says of itself, e.g. "PostgreSQL 15.18" or "MariaDB 10.11.19".
	Server string
	// Replica tells that the server follows another one: a PostgreSQL in recovery, a MySQL or MariaDB that is read-only or replicating.
	Replica bool
	timeout time.Duration
}

// Open connects and asks who the server is.
func Open(ctx context.Context, t Target) (*Session, error) {
	if t.StatementTimeout < time.Millisecond {
		return nil, fmt.Errorf("statement timeout %s: expected at least 1ms", t.StatementTimeout)
	}
	var connect func(context.Context, Target) (engine, error)
	switch t.Engine {
	case plan.PostgreSQL:
		connect = openPostgres
	case plan.MySQL:
		connect = openMySQL
	default:
		return nil, &Refused{EngineUnknown, fmt.Sprintf("engine %q: expected %s or %s", t.Engine, plan.PostgreSQL, plan.MySQL)}
	}
	e, err := connect(ctx, t)
	if err != nil {
		return nil, err
	}
	s := &Session{engine: e, timeout: t.StatementTimeout}
	if s.Server, s.Replica, err = e.about(ctx); err != nil {
		s.Close()
		return nil, e.classify(ctx, err)
	}
	return s, nil
}

// Close ends the session. What is open is rolled back by the server.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	s.engine.close(ctx)
}

// Questions are what a plan asks.
type Questions struct {
	Queries   []plan.Query
	Heartbeat *plan.Heartbeat
	Canary    *plan.Canary
	// Now is held against the heartbeat.
	Now time.Time
}

// Run asks everything in one read-only transaction, which is rolled back. err is for what keeps the transaction itself from being
// made or kept; a query that fails is a failed Result.
func (s *Session) Run(ctx context.Context, q Questions) ([]Result, error) {
	if err := s.engine.begin(ctx, s.timeout); err != nil {
		return nil, s.engine.classify(ctx, err)
	}
	defer s.engine.end(ctx)
	var out []Result
	for _, j := range judges(q) {
		r, err := s.query(ctx, j)
		if err != nil {
			return out, s.engine.classify(ctx, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// query asks one query and holds the answer against what the plan expects of it.
func (s *Session) query(ctx context.Context, j judge) (Result, error) {
	r := Result{Name: j.name, Kind: j.kind, Expected: j.expected}
	began := time.Now()
	a, err := s.engine.ask(ctx, j.sql)
	r.Took = time.Since(began)
	if err != nil {
		if j.secret {
			err = sparing(err)
		}
		return r, err
	}
	switch {
	case a.refusal != "" && j.secret:
		r.Got = a.code
	case a.refusal != "":
		r.Got = a.refusal
	case a.null:
		r.Got = "NULL"
	default:
		j.hold(&r, a)
	}
	r.Got = Cap(r.Got)
	why, err := s.engine.still(ctx)
	if err == nil && why != "" {
		err = &Refused{NotReadOnly, fmt.Sprintf("query %q %s", j.name, why)}
	}
	return r, err
}

// shapeError tells that a query does not answer one row of one column; rows is -1 when it was not run for its columns' sake.
type shapeError struct{ rows, columns int }

func (e *shapeError) Error() string {
	if e.rows < 0 {
		return fmt.Sprintf("it answers %d columns, expected a query of one row of one column", e.columns)
	}
	return fmt.Sprintf("%d rows of %d columns, expected one row of one column", e.rows, e.columns)
}

// sparing is an error of a query whose answer is a secret: a server's message may quote the data.
func sparing(err error) error {
	for _, code := range []func(error) string{postgresCode, mysqlCode} {
		if c := code(err); c != "" {
			return &Unreachable{errors.New(c)}
		}
	}
	return err
}
