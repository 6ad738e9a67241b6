// Package mytest starts a real MariaDB for a test: the programs that are on the machine, else those that package mariadb brings. It never
// runs as root. The test's log says which version ran.
package mytest

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"fallbackchain.io/fallback/shared/database/internal/testserver"
	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// Superuser and Password of the server's own role, who may come from everywhere.
const (
	Superuser = "root"
	Password  = "root-password"
	// Database is there, and empty.
	Database = "test"
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
	home := testserver.New(tb, "mysql", "nobody")
	bringing, cancel := context.WithTimeout(context.Background(), testserver.BringPatience)
	defer cancel()
	programs, err := mariadb.Finder{Place: home.Place, MayEnter: home.MayEnter}.Find(bringing)
	if err != nil {
		tb.Fatal(err)
	}
	data := filepath.Join(home.Dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		tb.Fatal(err)
	}
	keys := ""
	if !o.NoTLS {
		keys = home.Dir
		if err := mariadb.WriteCertificate(keys, time.Now()); err != nil {
			tb.Fatal(err)
		}
	}
	home.Own()
	ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
	defer cancel()
	initialise(ctx, tb, home, programs, data)
	s := &Server{tb: tb}
	s.Addr = home.Serve(testserver.Server{Program: programs.Server, ReadyLine: mariadb.ReadyLine,
		StopWith: syscall.SIGKILL, // a clean end takes a second
		Args: func(port int) []string {
			args := programs.ServerArgs(data, port, keys)
			if o.NoTLS {
				args = append(args, "--skip-ssl") // newer servers make a certificate of their own
			}
			for _, c := range o.Config {
				args = append(args, "--"+c)
			}
			return args
		}})
	s.open(!o.NoTLS)
	return s
}

func initialise(ctx context.Context, tb testing.TB, home *testserver.Home, p mariadb.Programs, data string) {
	tb.Helper()
	text, err := p.InitSQL(mariadb.Accounts{RootPassword: Password, Database: Database})
	if err != nil {
		tb.Fatal(err)
	}
	run := home.Command(ctx, p.Server, p.InitArgs(data)...)
	run.Stdin = strings.NewReader(text)
	if out, err := run.CombinedOutput(); err != nil {
		tb.Fatalf("new data directory: %v\n%s", err, out)
	}
}

// open connects as the superuser and asks who answers.
func (s *Server) open(overTLS bool) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
	defer cancel()
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
	ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
	defer cancel()
	if _, err := s.db.ExecContext(ctx, statements); err != nil {
		s.tb.Fatalf("%s: %v", statements, err)
	}
}

// Value is the first column of a query's first row, as text; "NULL" for NULL.
func (s *Server) Value(query string, args ...any) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
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
