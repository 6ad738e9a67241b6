// Package mytest starts a real MariaDB for a test: the programs that are on the machine, else those that package mariadb brings. It never
// runs as root. The test's log says which version ran.
package mytest

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// Superuser and Password of the server's own role, who may come from everywhere.
const (
	Superuser = "root"
	Password  = "root-password"
	// Database is there, and empty.
	Database = "test"
)

// patience bounds everything that is waited for; the programs may have to be brought first.
const (
	patience      = 90 * time.Second
	bringPatience = 12 * time.Minute
)

// Server is a running MariaDB on loopback.
type Server struct {
	Addr string
	// Version is the server's own word, e.g. "11.4.5-MariaDB".
	Version string

	tb testing.TB
	db *sql.DB
}

// Options of Start.
type Options struct {
	// NoTLS makes the server offer no TLS; otherwise it does, with a certificate nobody trusts.
	NoTLS bool
	// Config are further settings, as "name=value".
	Config []string
}

// Start runs a new server with an empty database until the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "fallback-mytest-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	// Everybody may pass, so that the other user reaches its own directory below.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // a test's own directory, with nothing readable in it
		tb.Fatal(err)
	}
	who, err := unprivileged()
	if err != nil {
		tb.Fatal(err)
	}
	bringing, cancel := context.WithTimeout(context.Background(), bringPatience)
	defer cancel()
	programs, err := mariadb.Finder{Place: dir, MayEnter: who.mayEnter}.Find(bringing)
	if err != nil {
		tb.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	data := filepath.Join(home, "data")
	for _, d := range []string{home, data} {
		if err := os.Mkdir(d, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	keys := ""
	if !o.NoTLS {
		keys = home
		if err := mariadb.WriteCertificate(keys, time.Now()); err != nil {
			tb.Fatal(err)
		}
	}
	who.own(tb, home)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	initialise(ctx, tb, who, programs, home, data)
	// Another process may take the free port first: the server then ends at once and the next one is tried.
	for range 5 {
		port, err := freePort()
		if err != nil {
			tb.Fatal(err)
		}
		args := programs.ServerArgs(data, port, keys)
		if o.NoTLS {
			args = append(args, "--skip-ssl") // newer servers make a certificate of their own
		}
		for _, c := range o.Config {
			args = append(args, "--"+c)
		}
		if err := who.serve(tb, home, programs.Server, args); err != nil {
			tb.Log(err)
			continue
		}
		s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), tb: tb}
		s.open(ctx, !o.NoTLS)
		return s
	}
	tb.Fatal("MariaDB did not start")
	return nil
}

func initialise(ctx context.Context, tb testing.TB, who identity, p mariadb.Programs, home, data string) {
	tb.Helper()
	text, err := p.InitSQL(mariadb.Accounts{RootPassword: Password, Database: Database})
	if err != nil {
		tb.Fatal(err)
	}
	run := who.command(ctx, home, p.Server, p.InitArgs(data)...)
	run.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	run.Stdout, run.Stderr = &out, &out
	if err := run.Run(); err != nil {
		tb.Fatalf("new data directory: %v\n%s", err, out.Bytes())
	}
}

// open connects as the superuser and asks who answers.
func (s *Server) open(ctx context.Context, overTLS bool) {
	s.tb.Helper()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = Superuser, Password, "tcp", s.Addr, Database
	cfg.MultiStatements, cfg.Logger = true, quiet{}
	if overTLS {
		cfg.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // a test's own server
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.db = sql.OpenDB(connector)
	s.tb.Cleanup(func() { _ = s.db.Close() })
	var cipher sql.NullString
	if err := s.db.QueryRowContext(ctx, "SELECT VERSION(), (SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_version')").
		Scan(&s.Version, &cipher); err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Logf("the server is MariaDB: %s, TLS %q", s.Version, cipher.String)
}

// Dial connects to the server.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.Addr)
}

// DB is a pool of the superuser's connections to Database; it closes with the test.
func (s *Server) DB() *sql.DB { return s.db }

// Exec runs statements, separated by semicolons, as the superuser.
func (s *Server) Exec(statements string) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := s.db.ExecContext(ctx, statements); err != nil {
		s.tb.Fatalf("%s: %v", statements, err)
	}
}

// Value is the first column of a query's first row, as text; "NULL" for NULL.
func (s *Server) Value(query string, args ...any) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var v sql.NullString
	if err := s.db.QueryRowContext(ctx, query, args...).Scan(&v); err != nil {
		s.tb.Fatalf("%s: %v", query, err)
	}
	if !v.Valid {
		return "NULL"
	}
	return v.String
}

// CreateRole makes a user who may only read Database.
func (s *Server) CreateRole(name, password string) {
	s.tb.Helper()
	who := mariadb.Quote(name) + "@'%'"
	s.Exec(fmt.Sprintf("CREATE USER %s IDENTIFIED BY %s; GRANT SELECT ON %s.* TO %s", who, mariadb.Quote(password), mariadb.Identifier(Database), who))
}

// quiet drops what the driver says of broken connections, which tests make on purpose.
type quiet struct{}

func (quiet) Print(...any) {}

func freePort() (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
