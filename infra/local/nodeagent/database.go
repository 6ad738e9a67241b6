package nodeagent

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/loopback"
)

const (
	// databaseGrace is how long a database may take to shut down.
	databaseGrace = 20 * time.Second
	// answerTimeout bounds the wait for an answer of a server that says it takes connections.
	answerTimeout = 30 * time.Second
)

// database stands for a container that runs a database server.
type database struct {
	u      *unit
	c      *corev1.Container
	log    string
	engine engine
}

// engine is what the servers differ in.
type engine interface {
	// prepare makes the volume such that a server can be started on it, and tells how.
	prepare(ctx context.Context, on site) (*recipe, error)
	// answers holds once a server speaks on a local port, be it to say that it does not know the password: a restored volume has the
	// users of its snapshot.
	answers(ctx context.Context, env map[string]string, port int) error
}

// recipe is how a server is started.
type recipe struct {
	// name is the program's, version what runs.
	name, version string
	// listens is what the container listens on when it declares no port.
	listens int32
	// path, dir, env, until and stopWith are the command's, args its arguments for a local port.
	path, dir string
	env       []string
	until     string
	stopWith  syscall.Signal
	args      func(port int) []string
}

// databaseServer is a running one.
type databaseServer struct {
	*child
	site
	engine engine
	pod    int32
	port   int
}

func (d *database) start(ctx context.Context) (running, error) {
	a := d.u.a
	env, err := environment(ctx, a.opt.Client, d.u.pod, d.c)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", d.c.Name, err)
	}
	volume, err := d.u.directory(d.c)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", d.c.Name, err)
	}
	on := site{volume: volume, env: env, as: a.opt.RunAs, log: d.log, procs: a.procs}
	if err := on.as.own(volume, false); err != nil {
		return nil, err
	}
	r, err := d.engine.prepare(ctx, on)
	if err != nil {
		return nil, err
	}
	port, err := loopback.Databases.FreePort()
	if err != nil {
		return nil, err
	}
	ch, err := a.procs.run(command{name: d.u.pod.Namespace + "/" + d.u.pod.Name + "/" + r.name, path: r.path, dir: r.dir, args: r.args(port), env: r.env,
		as: on.as, log: on.log, until: r.until, stopWith: r.stopWith, grace: databaseGrace})
	if err != nil {
		return nil, err
	}
	s := &databaseServer{child: ch, site: on, engine: d.engine, pod: r.listens, port: port}
	if len(d.c.Ports) > 0 {
		s.pod = d.c.Ports[0].ContainerPort
	}
	d.u.log.Info("started", "server", r.version, "data", filepath.Base(volume))
	return s, nil
}

// ready waits for the server's own word and then for an answer over TCP.
func (s *databaseServer) ready(ctx context.Context) (map[int32]int, error) {
	select {
	case <-s.said:
	case <-s.done:
		return nil, s.exitErr
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := s.engine.answers(ctx, s.env, s.port); err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", s.cmd.name, err)
	}
	return map[int32]int{s.pod: s.port}, nil
}

// kill is a power cut: the server and every process it started, at once.
func (s *databaseServer) kill() {
	s.child.kill()
	_ = eachUserDead(s.volume)
}

// stop returns when the last process has left the volume.
func (s *databaseServer) stop() {
	s.child.stop()
	_ = eachUserDead(s.volume)
}
