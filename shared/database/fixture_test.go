package database

import (
	"context"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/database/mytest"
	"fallbackchain.io/fallback/shared/database/pgtest"
	"fallbackchain.io/fallback/shared/plan"
)

const (
	secret = "reader-password-7f3a"
	// timeout is one that no statement reaches, on a busy machine either; slow is one that those which are to reach it do.
	timeout = 30 * time.Second
	slow    = 2 * time.Second
)

func ptr[T any](v T) *T { return &v }

func equals(s string) plan.Expect { return plan.Expect{Equals: &s} }

// server is a real database of one engine, with the table items of 42 rows, the role reader that may write to it, and others.
type server struct {
	engine plan.Engine
	name   string
	dial   Dial
	// exec runs statements as the superuser.
	exec func(sql string)
}

func (s *server) target(user string) Target {
	return Target{Engine: s.engine, Dial: s.dial, Database: s.name, Credentials: Credentials{user, secret}, StatementTimeout: timeout}
}

func postgresServer(t *testing.T, o pgtest.Options) *server {
	s := pgtest.Start(t, o)
	s.Exec(`
		CREATE ROLE reader LOGIN PASSWORD '` + secret + `';
		ALTER ROLE reader SET timezone = 'Asia/Tokyo'; ALTER ROLE reader SET datestyle = 'German';
		CREATE ROLE boss LOGIN SUPERUSER PASSWORD '` + secret + `';
		CREATE ROLE deputy LOGIN PASSWORD '` + secret + `'; GRANT boss TO deputy;
		CREATE ROLE filer LOGIN PASSWORD '` + secret + `'; GRANT pg_write_server_files TO filer;
		CREATE ROLE runner LOGIN NOINHERIT PASSWORD '` + secret + `'; GRANT pg_execute_server_program TO runner;
		CREATE TABLE items (id int PRIMARY KEY, name text); INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 42) i;
		CREATE SEQUENCE numbers;
		CREATE FUNCTION add_one() RETURNS int LANGUAGE sql AS 'INSERT INTO items VALUES (99, ''x'') RETURNING 1';
		CREATE PROCEDURE escape() LANGUAGE plpgsql AS 'BEGIN COMMIT; INSERT INTO items VALUES (98, ''x''); END';
		GRANT ALL ON items, numbers TO reader; GRANT CREATE ON SCHEMA public TO reader;`)
	return &server{engine: plan.PostgreSQL, name: "postgres", dial: s.Dial, exec: s.Exec}
}

func mariadbServer(t *testing.T, tls bool) *server {
	s := mytest.Start(t, mytest.Options{NoTLS: !tls})
	s.Exec(`
		CREATE DATABASE shop; USE shop;
		CREATE USER reader IDENTIFIED BY '` + secret + `'; GRANT ALL ON shop.* TO reader;
		CREATE USER boss IDENTIFIED BY '` + secret + `'; GRANT ALL ON *.* TO boss WITH GRANT OPTION;
		CREATE USER filer IDENTIFIED BY '` + secret + `'; GRANT SELECT, FILE ON *.* TO filer;
		CREATE USER looker IDENTIFIED BY '` + secret + `'; GRANT SELECT, PROCESS, REPLICATION CLIENT ON *.* TO looker;
		CREATE ROLE setter; GRANT SUPER ON *.* TO setter; CREATE ROLE group_of_setters; GRANT setter TO group_of_setters; GRANT SELECT ON shop.* TO group_of_setters;
		CREATE USER deputy IDENTIFIED BY '` + secret + `'; GRANT group_of_setters TO deputy; SET DEFAULT ROLE group_of_setters FOR deputy;
		CREATE TABLE items (id int PRIMARY KEY, name text); INSERT INTO items SELECT seq, CONCAT('item ', seq) FROM seq_1_to_42;
		CREATE TABLE plain (id int) ENGINE=MyISAM;
		CREATE SEQUENCE numbers;
		CREATE FUNCTION add_one() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO items VALUES (99, 'x'); RETURN 1; END;
		CREATE PROCEDURE escape_it() BEGIN COMMIT; SET SESSION TRANSACTION READ WRITE; START TRANSACTION; INSERT INTO items VALUES (98, 'x'); COMMIT; END;`)
	return &server{engine: plan.MySQL, name: "shop", dial: s.Dial, exec: func(sql string) { s.Exec("USE shop; " + sql) }}
}

// TestEngines plays every test that needs a server on one server of each engine, neither of which offers TLS.
func TestEngines(t *testing.T) {
	for _, engine := range []struct {
		name  string
		start func() *server
		own   func(*testing.T, *server)
	}{
		{"postgresql", func() *server { return postgresServer(t, pgtest.Options{}) }, testPostgres},
		{"mariadb", func() *server { return mariadbServer(t, false) }, testMariaDB},
	} {
		t.Run(engine.name, func(t *testing.T) {
			s := engine.start()
			for _, part := range []struct {
				name string
				test func(*testing.T, *server)
			}{
				{"its own", engine.own}, {"queries", testQueries}, {"kinds", testKinds}, {"heartbeat", testHeartbeat}, {"canary", testCanary},
				{"one transaction", testOneTransaction}, {"wrong password", testWrongPassword},
				{"TLS", func(t *testing.T, s *server) { testTLS(t, s, false) }},
			} {
				t.Run(part.name, func(t *testing.T) { part.test(t, s) })
			}
		})
	}
}

func TestTLSWhenOffered(t *testing.T) {
	for _, s := range []*server{postgresServer(t, pgtest.Options{TLS: true}), mariadbServer(t, true)} {
		testTLS(t, s, true)
	}
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

// ask asks one query.
func ask(t *testing.T, target Target, q Questions) Result {
	t.Helper()
	rs, err := open(t, target).Run(t.Context(), q)
	if err != nil || len(rs) != 1 {
		t.Fatalf("%+v, %v", rs, err)
	}
	return rs[0]
}
