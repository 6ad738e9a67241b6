// Package pgtest starts a real PostgreSQL for a test: the programs that are on the machine, else those that the embedded-postgres
// library brings. It never runs as root.
package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fallbackchain.io/fallback/shared/database/internal/selfsigned"
	"fallbackchain.io/fallback/shared/database/internal/testserver"
	"fallbackchain.io/fallback/shared/database/pgtest/postgres"
)

// Superuser and Password of the server's own role.
const (
	Superuser = "admin"
	Password  = "admin-password"
)

// Server is a running PostgreSQL on loopback.
type Server struct {
	Addr string
	tb   testing.TB
}

// Options of Start.
type Options struct {
	// TLS makes the server offer TLS, with a certificate nobody trusts.
	TLS bool
	// Config are further settings, as "name=value".
	Config []string
}

// Start runs a new, empty server until the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	home := testserver.New(tb, "postgres", "nobody")
	bin, err := binaries(home)
	if err != nil {
		tb.Fatal(err)
	}
	data, pw := filepath.Join(home.Dir, "data"), filepath.Join(home.Dir, "pw")
	if err := os.WriteFile(pw, []byte(Password), 0o600); err != nil {
		tb.Fatal(err)
	}
	args := []string{"-D", data, "-h", "127.0.0.1", "-k", home.Dir, "-F"}
	for _, c := range append(o.Config, "max_connections=20", "shared_buffers=16MB") {
		args = append(args, "-c", c)
	}
	if o.TLS {
		crt, key := filepath.Join(home.Dir, "crt"), filepath.Join(home.Dir, "key")
		if err := (selfsigned.Certificate{Name: "elsewhere", From: time.Now(), Life: time.Hour}).Write(crt, key); err != nil {
			tb.Fatal(err)
		}
		args = append(args, "-c", "ssl=on", "-c", "ssl_cert_file="+crt, "-c", "ssl_key_file="+key)
	}
	home.Own()
	ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
	defer cancel()
	run := home.Command(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", Superuser, "--pwfile", pw, "-A", "scram-sha-256", "-N", "-E", "UTF8", "--no-locale")
	if out, err := run.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	addr := home.Serve(testserver.Server{Program: filepath.Join(bin, "postgres"), ReadyLine: postgres.ReadyLine,
		StopWith: syscall.SIGQUIT, // immediate shutdown, https://www.postgresql.org/docs/current/server-shutdown.html
		Args:     func(port int) []string { return append(slices.Clone(args), "-p", strconv.Itoa(port)) }})
	return &Server{Addr: addr, tb: tb}
}

// binaries is the directory of initdb and postgres.
func binaries(home *testserver.Home) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testserver.BringPatience)
	defer cancel()
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return postgres.Finder{Cache: filepath.Join(cache, "fallback-chain", "pgtest"), MayEnter: home.MayEnter}.Find(ctx, "")
}

// Dial connects to the server.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.Addr)
}

// Exec runs statements as the superuser.
func (s *Server) Exec(sql string) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testserver.Patience)
	defer cancel()
	host, port, _ := net.SplitHostPort(s.Addr)
	c, err := pgconn.Connect(ctx, fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=postgres sslmode=prefer", host, port, Superuser, Password))
	if err != nil {
		s.tb.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql).ReadAll(); err != nil {
		s.tb.Fatalf("%s: %v", sql, err)
	}
}
