package nodeagent

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// mariaPort is what a container of the image listens on when it declares no port.
const mariaPort = 3306

// maria stands for a container of MariaDBImage. It takes the image's variables MARIADB_ROOT_PASSWORD, MARIADB_DATABASE, MARIADB_USER
// and MARIADB_PASSWORD (https://hub.docker.com/_/mariadb), which count only while the volume is empty.
type maria struct {
	u   *unit
	c   *corev1.Container
	log string
}

// mariaServer is a running one.
type mariaServer struct {
	*child
	dir  string // the volume's
	env  map[string]string
	pod  int32
	port int
}

// mariaPrograms finds the programs for one caller at a time.
type mariaPrograms struct {
	finder mariadb.Finder
	turn   chan struct{}
}

func newMariaPrograms(place string, runAs Identity) *mariaPrograms {
	return &mariaPrograms{finder: mariadb.Finder{Place: place, MayEnter: runAs.CanEnter}, turn: make(chan struct{}, 1)}
}

func (m *mariaPrograms) find(ctx context.Context) (mariadb.Programs, error) {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return mariadb.Programs{}, context.Cause(ctx)
	}
	defer func() { <-m.turn }()
	return m.finder.Find(ctx)
}

func (p *maria) start(ctx context.Context) (running, error) {
	a := p.u.a
	env, err := environment(ctx, a.opt.Client, p.u.pod, p.c)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", p.c.Name, err)
	}
	dir, err := p.u.directory(p.c)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", p.c.Name, err)
	}
	programs, err := a.maria.find(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.opt.RunAs.own(dir, false); err != nil {
		return nil, err
	}
	d := mariaDir{dir: dir, programs: programs, as: a.opt.RunAs, log: p.log, procs: a.procs, env: env}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	ch, err := a.procs.run(command{
		name: p.u.pod.Namespace + "/" + p.u.pod.Name + "/mariadb", path: programs.Server, dir: d.data(),
		args: programs.ServerArgs(d.data(), port, d.keys()), env: d.environ(), as: a.opt.RunAs, log: p.log, until: mariadb.ReadyLine,
		stopWith: syscall.SIGTERM, // https://mariadb.com/docs/server/server-management/starting-and-stopping-mariadb/mariadbd-options
		grace:    20 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	s := &mariaServer{child: ch, dir: dir, env: env, pod: mariaPort, port: port}
	if len(p.c.Ports) > 0 {
		s.pod = p.c.Ports[0].ContainerPort
	}
	p.u.log.Info("started", "server", "MariaDB "+programs.Version, "data", filepath.Base(dir))
	return s, nil
}

// ready waits for the server's own word and then for an answer over TCP, which may be that it does not know the password: a restored
// volume has the users of its snapshot.
func (s *mariaServer) ready(ctx context.Context) (map[int32]int, error) {
	select {
	case <-s.said:
	case <-s.done:
		return nil, s.exitErr
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
	cfg.User, cfg.Passwd, cfg.Logger = "root", s.env["MARIADB_ROOT_PASSWORD"], &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	var conn driver.Conn
	var said *mysql.MySQLError
	switch conn, err = connector.Connect(ctx); {
	case err == nil:
		_ = conn.Close()
	case errors.As(err, &said): // it answers, if only that it does not know us
	default:
		return nil, fmt.Errorf("%s does not answer: %w", s.cmd.name, err)
	}
	return map[int32]int{s.pod: s.port}, nil
}

// kill is a power cut.
func (s *mariaServer) kill() {
	s.child.kill()
	_ = eachUserDead(s.dir)
}

// stop returns when nothing works in the volume any more.
func (s *mariaServer) stop() {
	s.child.stop()
	_ = eachUserDead(s.dir)
}
