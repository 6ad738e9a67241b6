package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	corev1 "k8s.io/api/core/v1"
)

// postgresPort is what a container of the image listens on when it declares no port.
const postgresPort = 5432

// postgres stands for a container of PostgresImage. It takes the image's variables POSTGRES_USER, POSTGRES_PASSWORD,
// POSTGRES_DB and POSTGRES_INITDB_ARGS (https://hub.docker.com/_/postgres), which count only while the volume is empty.
type postgres struct {
	u     *unit
	c     *corev1.Container
	major string
	log   string
}

// server is a running one.
type server struct {
	*child
	dir  string // the volume's
	env  map[string]string
	pod  int32
	port int
}

func (p *postgres) start(ctx context.Context) (running, error) {
	a := p.u.a
	env, err := environment(ctx, a.opt.Client, p.u.pod, p.c)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", p.c.Name, err)
	}
	dir, err := p.u.directory(p.c)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", p.c.Name, err)
	}
	d := dataDir{path: filepath.Join(dir, "pgdata"), as: a.opt.RunAs, log: p.log, procs: a.procs, env: env}
	bin, err := a.pg.dir(ctx, d.major(p.major))
	if err != nil {
		return nil, err
	}
	d.bin = bin
	if err := a.opt.RunAs.own(dir, false); err != nil {
		return nil, err
	}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	ch, err := a.procs.run(command{
		name: p.u.pod.Namespace + "/" + p.u.pod.Name + "/postgres", path: filepath.Join(bin, "postgres"), dir: d.path,
		args: []string{"-D", d.path, "-p", strconv.Itoa(port),
			"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			// The processes may die at any time, the machine does not: what reached the kernel is not lost.
			"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c", "lc_messages=C",
			"-c", "logging_collector=off", "-c", "log_destination=stderr"},
		env: append(minimalEnv(), "LC_ALL=C"), as: a.opt.RunAs, log: p.log, until: "database system is ready to accept connections",
		stopWith: syscall.SIGINT, // fast shutdown, https://www.postgresql.org/docs/current/server-shutdown.html
		grace:    20 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	s := &server{child: ch, dir: dir, env: env, pod: postgresPort, port: port}
	if len(p.c.Ports) > 0 {
		s.pod = p.c.Ports[0].ContainerPort
	}
	return s, nil
}

// ready waits for the server's own word and then for an answer over TCP, which may be that it does not know the password: a
// restored volume has the users of its snapshot.
func (s *server) ready(ctx context.Context) (map[int32]int, error) {
	select {
	case <-s.said:
	case <-s.done:
		return nil, s.exitErr
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d dbname=postgres user=readiness sslmode=disable", s.port))
	if err != nil {
		return nil, err
	}
	cfg.User, cfg.Password, cfg.Database = userOf(s.env), s.env["POSTGRES_PASSWORD"], databaseOf(s.env)
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	var said *pgconn.PgError
	switch {
	case err == nil:
		_ = conn.Close(ctx)
	case errors.As(err, &said) && (strings.HasPrefix(said.Code, "28") || said.Code == "3D000"): // no such user, password or database
	default:
		return nil, fmt.Errorf("%s does not answer: %w", s.cmd.name, err)
	}
	return map[int32]int{s.pod: s.port}, nil
}

// kill is a power cut: the server and every process it started, at once.
func (s *server) kill() {
	s.child.kill()
	_ = eachUserDead(s.dir)
}

// stop returns when the last process has left the volume.
func (s *server) stop() {
	s.child.stop()
	_ = eachUserDead(s.dir)
}

func userOf(env map[string]string) string {
	if u := env["POSTGRES_USER"]; u != "" {
		return u
	}
	return "postgres"
}

func databaseOf(env map[string]string) string {
	if d := env["POSTGRES_DB"]; d != "" {
		return d
	}
	return userOf(env)
}

// minimalEnv keeps what programs need to run and none of the agent's own settings (PGDATA, PGPORT and the like change a
// server's mind).
func minimalEnv() []string {
	out := []string{"HOME=/", "TZ=UTC"}
	for _, k := range []string{"PATH", "LD_LIBRARY_PATH", "TMPDIR"} {
		if v, ok := os.LookupEnv(k); ok {
			out = append(out, k+"="+v)
		}
	}
	return out
}

// freePort is a TCP port of the loopback interface that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
