package database

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/plan"
)

// query is one validation query, what is expected of it, and what becomes of it.
type query struct {
	name, sql string
	expect    plan.Expect
	ok        bool
	got       string
}

// untouched asks for the rows again, as the superuser sees them.
func (s *server) untouched(t *testing.T) {
	t.Helper()
	if r := ask(t, s.target("reader"), Questions{Queries: []plan.Query{{SQL: "SELECT count(*) FROM items", Expect: equals("42")}}}); !r.OK {
		t.Errorf("the table has %s rows", r.Got)
	}
}

// askEach asks every query, and another one after it: one that fails does not fail the next.
func askEach(t *testing.T, s *server, queries []query) {
	for _, tc := range queries {
		t.Run(tc.name, func(t *testing.T) {
			to := s.target("reader")
			if strings.HasPrefix(tc.name, "too slow") {
				to.StatementTimeout = slow
			}
			rs, err := open(t, to).Run(t.Context(), Questions{Queries: []plan.Query{{Name: tc.name, SQL: tc.sql, Expect: tc.expect},
				{Name: "after", SQL: "SELECT count(*) FROM items", Expect: equals("42")}}})
			if err != nil {
				t.Fatal(err)
			}
			if len(rs) != 2 || !rs[1].OK {
				t.Fatalf("results %+v", rs)
			}
			if r := rs[0]; r.OK != tc.ok || !strings.Contains(r.Got, tc.got) || len([]rune(r.Got)) > ValueLimit || r.Name != tc.name || r.Kind != plan.SmokeQuery {
				t.Errorf("got %+v, want ok %v and %q", r, tc.ok, tc.got)
			}
		})
	}
	s.untouched(t)
}

func testQueries(t *testing.T, s *server) {
	askEach(t, s, []query{
		{"count", "SELECT count(*) FROM items", equals("42"), true, "42"},
		{"a semicolon", "SELECT count(*) FROM items;\n", equals("42"), true, "42"},
		{"a comment", "SELECT count(*) -- of all\nFROM items -- here", equals("42"), true, "42"},
		{"a question mark", "SELECT 'what?'", equals("what?"), true, "what?"},
		{"with", "WITH few AS (SELECT id FROM items WHERE id < 8) SELECT count(*) FROM few", equals("7"), true, "7"},
		{"count is not", "SELECT count(*) FROM items", equals("43"), false, "42"},
		{"at least", "SELECT count(*) FROM items", plan.Expect{AtLeast: ptr(42.0)}, true, "42"},
		{"at least is not", "SELECT count(*) FROM items", plan.Expect{AtLeast: ptr(42.5)}, false, "42"},
		{"at most", "SELECT max(id) FROM items", plan.Expect{AtMost: ptr(41.0)}, false, "42"},
		{"matches", "SELECT name FROM items WHERE id = 7", plan.Expect{Matches: ptr("item [0-9]")}, true, "item 7"},
		{"matches only in part", "SELECT name FROM items WHERE id = 17", plan.Expect{Matches: ptr("item [0-9]")}, false, "item 17"},
		{"decimals as a number", "SELECT CAST(1.50 AS decimal(10, 2))", equals("1.5"), true, "1.50"},
		{"negative", "SELECT -7", equals("-7"), true, "-7"},
		{"unicode", "SELECT 'é\u2713'", equals("é\u2713"), true, "é\u2713"},
		{"null", "SELECT NULL", equals(""), false, "NULL"},
		{"no row", "SELECT id FROM items WHERE id = 0", equals("0"), false, "0 rows of 1 columns"},
		{"two rows", "SELECT id FROM items WHERE id < 3", equals("1"), false, "2 rows of 1 columns"},
		{"two columns", "SELECT 1 AS a, 2 AS b", equals("1"), false, "2 columns"},
		{"very long", "SELECT repeat('é', 5000)", plan.Expect{Matches: ptr("é+")}, true, strings.Repeat("é", ValueLimit-1) + "…"},
		{"no expectation", "SELECT 1", plan.Expect{}, false, "no expectation"},
		{"a write in a function", "SELECT add_one()", equals("1"), false, "25006"},
		{"a sequence", "SELECT nextval(numbers)", equals("1"), false, map[plan.Engine]string{plan.PostgreSQL: "does not exist", plan.MySQL: "25006"}[s.engine]},
	})
}

func testPostgres(t *testing.T, s *server) {
	askEach(t, s, []query{
		{"syntax error", "SELEKT 1", equals("1"), false, "syntax error"},
		{"no such table", "SELECT count(*) FROM orders", plan.Expect{AtLeast: ptr(0.0)}, false, "does not exist"},
		{"too slow", "SELECT pg_sleep(60)", equals(""), false, "canceling statement due to statement timeout"},
		{"two statements", "COMMIT; INSERT INTO items VALUES (99, 'x')", equals(""), false, "cannot insert multiple commands"},
		{"insert", "INSERT INTO items VALUES (99, 'x') RETURNING id", equals("99"), false, "cannot execute INSERT in a read-only transaction"},
		{"insert without an answer", "INSERT INTO items VALUES (99, 'x')", equals("99"), false, "it answers 0 columns"},
		{"in a WITH", "WITH w AS (DELETE FROM items RETURNING id) SELECT count(*) FROM w", equals("42"), false, "in a read-only transaction (SQLSTATE 25006)"},
		{"for update", "SELECT id FROM items WHERE id = 1 FOR UPDATE", equals("1"), false, "cannot execute SELECT FOR UPDATE in a read-only transaction"},
		{"sequence", "SELECT nextval('numbers')", equals("1"), false, "cannot execute nextval() in a read-only transaction"},
		{"sequence set", "SELECT setval('numbers', 7)", equals("7"), false, "cannot execute setval() in a read-only transaction"},
		{"a setting in a function", "SELECT set_config('transaction_read_only', 'off', false)", equals("off"), false, "cannot set transaction read-write mode"},
		// Refused from PostgreSQL 16 on; before, the rollback undoes it.
		{"large object", "SELECT lo_create(0) * 0 - 1", equals("0"), false, ""},
		{"ddl", "CREATE TABLE evil (id int)", equals(""), false, "it answers 0 columns"},
		{"into a table", "SELECT 1 AS a INTO evil", equals(""), false, "it answers 0 columns"},
		{"into a file", "COPY items TO '/tmp/items'", equals(""), false, "it answers 0 columns"},
		{"lock", "LOCK TABLE items IN ACCESS EXCLUSIVE MODE", equals(""), false, "it answers 0 columns"},
		{"setting of the server", "ALTER SYSTEM SET work_mem = '1GB'", equals(""), false, "it answers 0 columns"},
		{"read write", "SET TRANSACTION READ WRITE", equals(""), false, "it answers 0 columns"},
		{"commit", "COMMIT", equals(""), false, "it answers 0 columns"},
		{"block", "DO 'BEGIN COMMIT; END'", equals(""), false, "it answers 0 columns"},
		{"procedure", "CALL escape()", equals(""), false, "it answers 0 columns"},
	})
	s.exec("DO $$ BEGIN ASSERT (SELECT count(*) FROM items) = 42; ASSERT to_regclass('evil') IS NULL; ASSERT (SELECT NOT is_called FROM numbers); ASSERT (SELECT count(*) FROM pg_largeobject_metadata) = 0; END $$")
	for user, want := range map[string]string{"boss": "superuser", "deputy": "boss", "filer": "pg_write_server_files", "runner": "pg_execute_server_program"} {
		refusesRole(t, s.target(user), want)
	}
	t.Run("the server itself holds the transaction", func(t *testing.T) {
		for sql, want := range map[string]string{"INSERT INTO items VALUES (99, 'x')": "25006", "CREATE TABLE evil (id int)": "25006", "CALL escape()": "2D000",
			"DO 'BEGIN COMMIT; END'": "2D000", "SET TRANSACTION READ WRITE": "25001"} {
			e := begun(t, s)
			if err := e.exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, expected %s", sql, err, want)
			}
		}
		for _, sql := range []string{"COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "RELEASE SAVEPOINT fallback_check"} {
			leaves(t, begun(t, s), sql)
		}
		s.untouched(t)
	})
	t.Run("who the server is", func(t *testing.T) {
		if s := open(t, s.target("reader")); !strings.HasPrefix(s.Server, "PostgreSQL 1") || s.Replica {
			t.Errorf("server %q, replica %v", s.Server, s.Replica)
		}
	})
	t.Run("nothing of the environment is used", func(t *testing.T) {
		t.Setenv("PGOPTIONS", "-c default_transaction_read_only=off -c statement_timeout=1")
		t.Setenv("PGUSER", "boss")
		t.Setenv("PGSSLMODE", "verify-full")
		t.Setenv("PGTARGETSESSIONATTRS", "standby")
		if r := ask(t, s.target("reader"), Questions{Queries: []plan.Query{{SQL: "SELECT session_user", Expect: equals("reader")}}}); !r.OK {
			t.Errorf("%+v", r)
		}
	})
}

// refusesRole: a role that the transaction would not hold is asked nothing.
func refusesRole(t *testing.T, to Target, want string) {
	t.Helper()
	rs, err := open(t, to).Run(t.Context(), Questions{Queries: []plan.Query{{SQL: "SELECT 1", Expect: equals("1")}}})
	var refused *Refused
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || len(rs) != 0 || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "PASSWORD") {
		t.Errorf("%s: %v, results %v", to.Credentials.Username, err, rs)
	}
}

// direct is an engine past the question whether a statement is a query at all.
type direct interface {
	engine
	exec(ctx context.Context, sql string) error
}

// begun is a transaction with the savepoint of a query.
func begun(t *testing.T, s *server) direct {
	t.Helper()
	e, ok := open(t, s.target("reader")).engine.(direct)
	if !ok {
		t.Fatal("the engine runs no statements")
	}
	for _, err := range []error{e.begin(t.Context(), timeout), e.exec(t.Context(), "SAVEPOINT fallback_check")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// leaves: what was done to the transaction is found.
func leaves(t *testing.T, e direct, sql string) {
	t.Helper()
	if err := e.exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if why, err := e.still(t.Context()); why == "" || err != nil {
		t.Errorf("%s: %q, %v", sql, why, err)
	}
}

func testWrongPassword(t *testing.T, s *server) {
	bad := s.target("reader")
	bad.Credentials.Password = "wrong-password-11"
	_, err := Open(t.Context(), bad)
	var gone *Unreachable
	if err == nil || errors.As(err, &gone) || strings.Contains(err.Error(), "wrong-password-11") || !strings.Contains(err.Error(), "SQLSTATE 28") {
		t.Errorf("%v", err)
	}
}

func TestTheEndOfTheContextEndsAHangingRead(t *testing.T) {
	for _, e := range []plan.Engine{plan.PostgreSQL, plan.MySQL} {
		t.Run(string(e), func(t *testing.T) {
			client, silent := net.Pipe()
			t.Cleanup(func() { _ = silent.Close() })
			ctx, cancel := context.WithCancel(t.Context())
			dial := func(context.Context) (net.Conn, error) {
				if e == plan.MySQL { // the server speaks first
					cancel()
				}
				return client, nil
			}
			go func() {
				_, _ = silent.Read(make([]byte, 8)) // the client has begun to talk and waits for an answer
				cancel()
			}()
			_, err := Open(ctx, Target{Engine: e, Dial: dial, Database: "x", Credentials: Credentials{"u", "p"}, StatementTimeout: timeout})
			var gone *Unreachable
			if !errors.As(err, &gone) {
				t.Errorf("%v, want Unreachable", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}
	_ = l.Close()
	for _, e := range []plan.Engine{plan.PostgreSQL, plan.MySQL} {
		_, err = Open(t.Context(), Target{Engine: e, Dial: nobody, Database: "x", Credentials: Credentials{"u", "p"}, StatementTimeout: timeout})
		var gone *Unreachable
		if !errors.As(err, &gone) {
			t.Errorf("%s: %v, want Unreachable", e, err)
		}
	}
}

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, bad := range []Target{{Engine: "oracle", StatementTimeout: timeout}, {Engine: plan.MySQL}} {
		if _, err := Open(t.Context(), bad); err == nil {
			t.Errorf("%+v was opened", bad)
		}
	}
}
