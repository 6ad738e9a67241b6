package mytest_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"fallbackchain.io/fallback/shared/database/mytest"
)

// connect opens a pool of a role's connections.
func connect(t *testing.T, s *mytest.Server, user, password string, tlsConfig *tls.Config) *sql.DB {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName, cfg.TLS = user, password, "server", s.Addr, mytest.Database, tlsConfig
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) }
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestServer(t *testing.T) {
	s := mytest.Start(t, mytest.Options{})
	if !strings.Contains(s.Version, "MariaDB") {
		t.Errorf("version %q, want MariaDB's", s.Version)
	}
	s.Exec("CREATE TABLE things (id INT PRIMARY KEY, name TEXT) ENGINE=InnoDB; INSERT INTO things VALUES (1, 'one'), (2, NULL)")
	if got := s.Value("SELECT COUNT(*) FROM things"); got != "2" {
		t.Errorf("%s rows, want 2", got)
	}
	if got := s.Value("SELECT name FROM things WHERE id = ?", 2); got != "NULL" {
		t.Errorf("%q, want NULL", got)
	}
	if got := s.Value("SELECT COUNT(*) FROM mysql.global_priv WHERE User = ''"); got != "0" {
		t.Errorf("%s anonymous users, want none", got)
	}
	s.CreateRole("reader", `it's "read\only"`)
	db := connect(t, s, "reader", `it's "read\only"`, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test's own server
	var cipher string
	if err := db.QueryRow("SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'").Scan(&cipher); err != nil || cipher == "" {
		t.Errorf("cipher %q (%v), want TLS", cipher, err)
	}
	var denied *mysql.MySQLError
	if _, err := db.Exec("INSERT INTO things VALUES (3, 'three')"); !errors.As(err, &denied) || denied.Number != 1142 {
		t.Errorf("a role that may only read wrote: %v", err)
	}
}

func TestServerWithoutTLS(t *testing.T) {
	s := mytest.Start(t, mytest.Options{NoTLS: true, Config: []string{"read-only=ON"}})
	db := connect(t, s, mytest.Superuser, mytest.Password, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test's own server
	if err := db.Ping(); !errors.Is(err, mysql.ErrNoTLS) {
		t.Errorf("TLS on a server without it: %v, want %v", err, mysql.ErrNoTLS)
	}
	if got := s.Value("SELECT @@global.read_only"); got != "1" {
		t.Errorf("read_only %s, want the setting given", got)
	}
}
