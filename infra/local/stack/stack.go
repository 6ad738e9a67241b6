package stack

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/infra/local/pki"
	"fallbackchain.io/fallback/infra/local/process"
)

// Stack is a running stack, in the process that supervises it.
type Stack struct {
	layout     Layout
	opt        Options
	record     record
	unlock     func()
	manager    *process.Manager
	components []component
	probe      *probe
	dyn        dynamic.Interface
	version    string // of the API server
	since      time.Time
	took       time.Duration
	control    *http.Server

	stopping sync.Once
	stopErr  error
	over     chan struct{}
}

// Layout names the files of the stack.
func (s *Stack) Layout() Layout { return s.layout }

// Kubeconfig is the path of the administrator's.
func (s *Stack) Kubeconfig() string { return s.layout.Kubeconfig() }

// AuditLog is the path of the API server's, one JSON event a line.
func (s *Stack) AuditLog() string { return s.layout.AuditLog() }

// Server is the URL of the API server.
func (s *Stack) Server() string { return serverURL(s.record) }

// Took is how long the start took, without building.
func (s *Stack) Took() time.Duration { return s.took }

// KubeconfigFor writes a kubeconfig for a user in groups and returns its path. It is kept, and written anew by the next call
// when the server's port has changed.
func (s *Stack) KubeconfigFor(user string, groups ...string) (string, error) {
	return kubeconfigFor(s.layout, user, groups...)
}

// kubeconfigFor needs the authority on disk only, so that it works beside a supervisor in another process.
func kubeconfigFor(l Layout, user string, groups ...string) (string, error) {
	if !nameRule.MatchString(user) {
		return "", fmt.Errorf("user %q: expected up to 40 lower-case letters, digits and inner hyphens", user)
	}
	r, err := readRecord(l)
	if err != nil {
		return "", err
	}
	ca, err := pki.OpenAuthority(l.in("pki"), "ca", time.Now)
	if err != nil {
		return "", err
	}
	path := l.kubeconfig("user-" + user)
	return path, ca.Kubeconfig(path, "user-"+user, clusterName(r), serverURL(r), pki.Identity{User: user, Groups: groups})
}

// Status describes the stack as it is.
func (s *Stack) Status() Status {
	st := Status{
		Name: s.record.Name, Dir: s.layout.Dir, Kubeconfig: s.Kubeconfig(), Server: s.Server(), AuditLog: s.AuditLog(),
		S3: s.Backups().Endpoint, BackupLocation: s.Backups().Location(),
		Running: true, Ready: true, Supervisor: os.Getpid(), Since: s.since, Took: s.took, Nodes: s.record.Nodes,
		Components: s.manager.Status(),
	}
	for _, c := range st.Components {
		st.Ready = st.Ready && c.State == process.Running
	}
	return st
}

// StopComponent stops a component and waits until it is gone. It is not started again before StartComponent, or the next start.
func (s *Stack) StopComponent(ctx context.Context, name string) error {
	if _, err := s.component(name); err != nil {
		return err
	}
	return s.manager.Stop(ctx, name)
}

// KillComponent ends a component at once, as a crash would, and leaves it down.
func (s *Stack) KillComponent(name string) error {
	if _, err := s.component(name); err != nil {
		return err
	}
	return s.manager.Kill(name)
}

// StartComponent starts a component that was stopped and waits until it works. One that runs is only waited for.
func (s *Stack) StartComponent(ctx context.Context, name string) error {
	c, err := s.component(name)
	if err != nil {
		return err
	}
	if s.manager.Running(name) != nil {
		if name == Kwok {
			if err := s.freeLeases(ctx); err != nil {
				return err
			}
		}
		if name == Velero {
			if err := s.forgetLocation(ctx); err != nil {
				return err
			}
		}
		if err := s.manager.Start(c.spec); err != nil {
			return err
		}
	}
	if err := s.healthy(ctx, name); err != nil || name != Velero {
		return err
	}
	return s.awaitLocation(ctx)
}

// Stop stops everything in the reverse order of the start and frees the state directory. When ctx ends, what still runs is
// killed. The data stays.
func (s *Stack) Stop(ctx context.Context) error {
	s.stopping.Do(func() {
		if s.manager != nil {
			s.stopErr = s.manager.StopAll(ctx)
		}
		if s.control != nil {
			_ = os.Remove(s.layout.ControlSocket())
			go func() { _ = s.control.Close() }() // Stop may be called from one of its handlers
		}
		s.unlock()
		close(s.over)
	})
	<-s.over
	return s.stopErr
}

// Done is closed when the stack was stopped, by Stop or through the control socket.
func (s *Stack) Done() <-chan struct{} { return s.over }

// abandon stops what a failed start has started.
func (s *Stack) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = s.Stop(ctx)
}

func (s *Stack) component(name string) (component, error) {
	i := slices.IndexFunc(s.components, func(c component) bool { return c.spec.Name == name })
	if i < 0 {
		var names []string
		for _, c := range s.components {
			names = append(names, c.spec.Name)
		}
		return component{}, fmt.Errorf("component %q: expected one of %v", name, names)
	}
	return s.components[i], nil
}

func (s *Stack) start(names ...string) error {
	for _, n := range names {
		c, err := s.component(n)
		if err != nil {
			return err
		}
		if err := s.manager.Start(c.spec); err != nil {
			return err
		}
	}
	return nil
}

// healthy waits until the components work.
func (s *Stack) healthy(ctx context.Context, names ...string) error {
	return parallel(ctx, len(names), func(ctx context.Context, i int) error {
		c, err := s.component(names[i])
		if err != nil {
			return err
		}
		return s.probe.healthy(ctx, c, s.manager.Running)
	})
}

// exited is called when a component exits unasked.
func (s *Stack) exited(e process.Event) { s.opt.OnExit(e) }

func volumesDir(l Layout) string { return filepath.Join(l.CSIState(), "volumes") }
