// Package pgtest starts a real PostgreSQL for a test: the programs that are on the machine, else those that the embedded-postgres
// library brings. It never runs as root.
package pgtest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Superuser and Password of the server's own role.
const (
	Superuser = "admin"
	Password  = "admin-password"
)

// patience bounds everything that is waited for.
const patience = 60 * time.Second

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
	dir, err := os.MkdirTemp("", "fallback-pgtest-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	who, err := unprivileged()
	if err != nil {
		tb.Fatal(err)
	}
	bin, err := binaries()
	if err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	// Everybody may pass, so that the other user reaches its own directory below.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // a test's own directory, with nothing readable in it
		tb.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		tb.Fatal(err)
	}
	data, pw := filepath.Join(home, "data"), filepath.Join(home, "pw")
	if err := os.WriteFile(pw, []byte(Password), 0o600); err != nil {
		tb.Fatal(err)
	}
	args := []string{"-D", data, "-h", "127.0.0.1", "-k", home, "-F"}
	for _, c := range append(o.Config, "max_connections=20", "shared_buffers=16MB") {
		args = append(args, "-c", c)
	}
	if o.TLS {
		writeCertificate(tb, home)
		args = append(args, "-c", "ssl=on", "-c", "ssl_cert_file="+filepath.Join(home, "crt"), "-c", "ssl_key_file="+filepath.Join(home, "key"))
	}
	who.own(tb, home)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	run := who.command(ctx, home, filepath.Join(bin, "initdb"), "-D", data, "-U", Superuser, "--pwfile", pw, "-A", "scram-sha-256", "-N", "-E", "UTF8", "--no-locale")
	if out, err := run.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	// Another process may take the free port first: the server then ends at once and the next one is tried.
	for range 5 {
		port, err := freePort()
		if err != nil {
			tb.Fatal(err)
		}
		err = who.serve(tb, home, filepath.Join(bin, "postgres"), append(args, "-p", strconv.Itoa(port)))
		if err == nil {
			return &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), tb: tb}
		}
		tb.Log(err)
	}
	tb.Fatal("PostgreSQL did not start")
	return nil
}

// Dial connects to the server.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.Addr)
}

// Exec runs statements as the superuser.
func (s *Server) Exec(sql string) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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

// identity is the user the server runs as; nil when it is the test's own.
type identity struct{ cred *syscall.Credential }

// unprivileged is another user when the test runs as root: PostgreSQL refuses to run as root.
func unprivileged() (identity, error) {
	if os.Geteuid() != 0 {
		return identity{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		if uerr == nil && gerr == nil {
			return identity{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
		}
	}
	return identity{}, errors.New("root without a user postgres or nobody to run PostgreSQL as")
}

func (i identity) command(ctx context.Context, home, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = home
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: i.cred}
	return c
}

func (i identity) own(tb testing.TB, dir string) {
	tb.Helper()
	if i.cred == nil {
		return
	}
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(i.cred.Uid), int(i.cred.Gid))
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// serve starts the server and returns when it says that it is ready.
func (i identity) serve(tb testing.TB, home, postgres string, args []string) error {
	ctx, cancel := context.WithCancel(context.Background())
	c := i.command(ctx, home, postgres, args...)
	// SIGQUIT: immediate shutdown (https://www.postgresql.org/docs/current/server-shutdown.html); killed when that takes too long.
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGQUIT) }
	c.WaitDelay = 5 * time.Second
	pipe, err := c.StderrPipe()
	if err != nil {
		cancel()
		return err
	}
	if err := c.Start(); err != nil {
		cancel()
		return err
	}
	ready, log := make(chan bool, 1), &strings.Builder{}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		told := false
		sc := bufio.NewScanner(pipe)
		for sc.Scan() {
			if !told && log.Len() < 1<<16 {
				log.WriteString(sc.Text() + "\n")
			}
			if !told && strings.Contains(sc.Text(), "ready to accept connections") {
				told = true
				ready <- true
			}
		}
		if !told {
			ready <- false
		}
	}()
	stop := func() {
		cancel()
		<-drained
		_ = c.Wait()
	}
	select {
	case ok := <-ready:
		if ok {
			tb.Cleanup(stop)
			return nil
		}
	case <-time.After(patience):
	}
	stop()
	return fmt.Errorf("postgres did not become ready:\n%s", log)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func writeCertificate(tb testing.TB, dir string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{"elsewhere"}}
	crt, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: crt}, "key": {Type: "EC PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}
