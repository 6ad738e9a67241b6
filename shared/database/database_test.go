package database

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/database/pgtest"
	"fallbackchain.io/fallback/shared/plan"
)

const (
	secret  = "reader-password-7f3a"
	timeout = 2 * time.Second
)

func ptr[T any](v T) *T { return &v }

func equals(s string) plan.Expect { return plan.Expect{Equals: &s} }

const schema = `
	CREATE ROLE reader LOGIN PASSWORD '` + secret + `';
	CREATE ROLE boss LOGIN SUPERUSER PASSWORD '` + secret + `';
	CREATE ROLE deputy LOGIN PASSWORD '` + secret + `'; GRANT boss TO deputy;
	CREATE ROLE filer LOGIN PASSWORD '` + secret + `'; GRANT pg_write_server_files TO filer;
	CREATE ROLE runner LOGIN NOINHERIT PASSWORD '` + secret + `'; GRANT pg_execute_server_program TO runner;
	CREATE TABLE items (id int PRIMARY KEY, name text); INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 42) i;
	GRANT ALL ON items TO reader; GRANT CREATE ON SCHEMA public TO reader;`

func target(s *pgtest.Server, user string) Target {
	return Target{Dial: s.Dial, Database: "postgres", Credentials: Credentials{user, secret}, StatementTimeout: timeout}
}

func open(t *testing.T, target Target) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	s, err := Open(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestQueries(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	server.Exec(schema)
	for _, tc := range []struct {
		name, sql string
		expect    plan.Expect
		ok        bool
		got       string
	}{
		{"count", "SELECT count(*) FROM items", equals("42"), true, "42"},
		{"count is not", "SELECT count(*) FROM items", equals("43"), false, "42"},
		{"at least", "SELECT count(*) FROM items", plan.Expect{AtLeast: ptr(42.0)}, true, "42"},
		{"at least is not", "SELECT count(*) FROM items", plan.Expect{AtLeast: ptr(42.5)}, false, "42"},
		{"at most", "SELECT max(id) FROM items", plan.Expect{AtMost: ptr(41.0)}, false, "42"},
		{"matches", "SELECT name FROM items WHERE id = 7", plan.Expect{Matches: ptr("item [0-9]")}, true, "item 7"},
		{"matches only in part", "SELECT name FROM items WHERE id = 17", plan.Expect{Matches: ptr("item [0-9]")}, false, "item 17"},
		{"number as text", "SELECT 1.50::numeric", equals("1.5"), true, "1.50"},
		{"null", "SELECT NULL::int", equals(""), false, "NULL"},
		{"no row", "SELECT id FROM items WHERE id = 0", equals("0"), false, "0 rows of 1 columns"},
		{"two rows", "SELECT id FROM items WHERE id < 3", equals("1"), false, "2 rows of 1 columns"},
		{"two columns", "SELECT 1, 2", equals("1"), false, "1 rows of 2 columns"},
		{"syntax error", "SELEKT 1", equals("1"), false, "syntax error"},
		{"no such table", "SELECT count(*) FROM orders", plan.Expect{AtLeast: ptr(0.0)}, false, "does not exist"},
		{"insert", "INSERT INTO items VALUES (99, 'x') RETURNING id", equals("99"), false, "cannot execute INSERT in a read-only transaction"},
		{"write in a function", "SELECT setval('s', 1)", equals("1"), false, "SQLSTATE"},
		{"ddl", "CREATE TABLE evil (id int)", equals(""), false, "cannot execute CREATE TABLE in a read-only transaction"},
		{"two statements", "COMMIT; INSERT INTO items VALUES (99, 'x')", equals(""), false, "cannot insert multiple commands"},
		{"read write", "SET TRANSACTION READ WRITE", equals(""), false, "cannot set transaction read-write mode"},
		{"too slow", "SELECT pg_sleep(60)", equals(""), false, "canceling statement due to statement timeout"},
		{"very long", "SELECT repeat('é', 5000)", plan.Expect{Matches: ptr("é+")}, true, strings.Repeat("é", ValueLimit-1) + "…"},
		{"no expectation", "SELECT 1", plan.Expect{}, false, "no expectation"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tt := target(server, "reader")
			if tc.name == "too slow" {
				tt.StatementTimeout = 100 * time.Millisecond
			}
			// The query after it must still be asked: one that fails does not fail the next.
			rs, err := open(t, tt).Run(t.Context(), []plan.Query{{Name: tc.name, SQL: tc.sql, Expect: tc.expect}, {Name: "after", SQL: "SELECT count(*) FROM items", Expect: equals("42")}})
			if err != nil {
				t.Fatal(err)
			}
			if len(rs) != 2 || !rs[1].OK {
				t.Fatalf("results %+v", rs)
			}
			if r := rs[0]; r.OK != tc.ok || !strings.Contains(r.Got, tc.got) || len([]rune(r.Got)) > ValueLimit || r.Name != tc.name {
				t.Errorf("got %+v, want ok %v and %q", r, tc.ok, tc.got)
			}
		})
	}
	t.Run("nothing was written", func(t *testing.T) {
		server.Exec("DO $$ BEGIN ASSERT (SELECT count(*) FROM items) = 42; ASSERT to_regclass('evil') IS NULL; END $$")
	})
	t.Run("a query that ends the transaction", func(t *testing.T) {
		for _, sql := range []string{"COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "RELEASE SAVEPOINT fallback_check"} {
			_, err := open(t, target(server, "reader")).Run(t.Context(), []plan.Query{{Name: "end", SQL: sql}, {Name: "write", SQL: "INSERT INTO items VALUES (98, 'x')"}})
			var refused *Refused
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), "ended the read-only transaction") {
				t.Errorf("%s: %v", sql, err)
			}
		}
		server.Exec("DO $$ BEGIN ASSERT (SELECT count(*) FROM items) = 42; END $$")
	})
	t.Run("roles that could write", func(t *testing.T) {
		for user, want := range map[string]string{"boss": "superuser", "deputy": "boss", "filer": "pg_write_server_files", "runner": "pg_execute_server_program"} {
			rs, err := open(t, target(server, user)).Run(t.Context(), []plan.Query{{SQL: "SELECT 1", Expect: equals("1")}})
			var refused *Refused
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || len(rs) != 0 {
				t.Errorf("%s: %v, results %v", user, err, rs)
			}
		}
	})
	t.Run("who the server is", func(t *testing.T) {
		s := open(t, target(server, "reader"))
		if !strings.HasPrefix(s.Server, "PostgreSQL 1") || s.InRecovery {
			t.Errorf("server %q, in recovery %v", s.Server, s.InRecovery)
		}
	})
	t.Run("wrong password says no password", func(t *testing.T) {
		bad := target(server, "reader")
		bad.Credentials.Password = "wrong-password-11"
		_, err := Open(t.Context(), bad)
		var gone *Unreachable
		if err == nil || errors.As(err, &gone) || strings.Contains(err.Error(), "wrong-password-11") || !strings.Contains(err.Error(), "28P01") {
			t.Errorf("%v", err)
		}
	})
	t.Run("nothing of the environment is used", func(t *testing.T) {
		t.Setenv("PGOPTIONS", "-c default_transaction_read_only=off -c statement_timeout=1")
		t.Setenv("PGUSER", "boss")
		t.Setenv("PGSSLMODE", "verify-full")
		t.Setenv("PGTARGETSESSIONATTRS", "standby")
		rs, err := open(t, target(server, "reader")).Run(t.Context(), []plan.Query{{SQL: "SELECT session_user", Expect: equals("reader")}})
		if err != nil || len(rs) != 1 || !rs[0].OK {
			t.Errorf("%+v, %v", rs, err)
		}
	})
	t.Run("the end of the context ends a hanging read", func(t *testing.T) {
		tt := target(server, "reader")
		client, silent := net.Pipe()
		t.Cleanup(func() { _ = silent.Close() })
		tt.Dial = func(context.Context) (net.Conn, error) { return client, nil }
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, _ = silent.Read(make([]byte, 8)) // the client has begun to talk and waits for an answer
			cancel()
		}()
		_, err := Open(ctx, tt)
		var gone *Unreachable
		if !errors.As(err, &gone) {
			t.Errorf("%v, want Unreachable", err)
		}
	})
}

func TestTLSIsUsedWhenOffered(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TLS: true})
	server.Exec(schema)
	rs, err := open(t, target(server, "reader")).Run(t.Context(), []plan.Query{{SQL: "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", Expect: equals("t")}})
	if err != nil || len(rs) != 1 || !rs[0].OK {
		t.Errorf("%+v, %v", rs, err)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}
	_ = l.Close()
	_, err = Open(t.Context(), Target{Dial: refused, Database: "x", Credentials: Credentials{"u", "p"}, StatementTimeout: timeout})
	var gone *Unreachable
	if !errors.As(err, &gone) {
		t.Errorf("%v, want Unreachable", err)
	}
}
