package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/infra/local/nodeagent"
	"fallbackchain.io/fallback/infra/local/process"
)

// startTimeout bounds a start; two cores take about ten seconds, minutes when much else runs on them.
const startTimeout = 5 * time.Minute

// Up builds what is missing, starts the stack and returns when it is ready: every component healthy, the nodes Ready, the CSI
// controller available. What an earlier run that crashed left behind is ended first. When it fails or ctx ends, everything it
// started is stopped again; after it has returned, ctx no longer matters. The state stays for the next start.
func Up(ctx context.Context, opt Options) (*Stack, error) {
	opt, err := opt.resolve()
	if err != nil {
		return nil, err
	}
	l := Layout{Dir: opt.Dir}
	// Others pass through to reach the volumes; what they must not see is in directories of its own.
	if err := os.MkdirAll(l.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	unlock, err := lockDir(l)
	if err != nil {
		return nil, err
	}
	s := &Stack{layout: l, opt: opt, unlock: unlock, over: make(chan struct{})}
	if err := s.up(ctx); err != nil {
		s.abandon()
		if cause := context.Cause(ctx); cause != nil { // what failed failed because of it
			return nil, fmt.Errorf("interrupted, what was started is stopped: %w", cause)
		}
		return nil, err
	}
	return s, nil
}

func (opt Options) resolve() (Options, error) {
	if opt.Name == "" {
		opt.Name = DefaultName
	}
	if !nameRule.MatchString(opt.Name) {
		_, err := DefaultDir(opt.Name)
		return opt, err
	}
	var err error
	if opt.Dir == "" {
		opt.Dir, err = DefaultDir(opt.Name)
	} else {
		opt.Dir, err = filepath.Abs(opt.Dir)
	}
	if opt.Progress == nil {
		opt.Progress = func(Event) {}
	}
	if opt.OnExit == nil {
		opt.OnExit = func(process.Event) {}
	}
	if opt.StartTimeout == 0 {
		opt.StartTimeout = startTimeout
	}
	opt.Tools.Progress = opt.Progress
	return opt, err
}

func (s *Stack) up(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.opt.StartTimeout,
		fmt.Errorf("not ready after %s", s.opt.StartTimeout))
	defer cancel()
	s.since = time.Now()
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"start the control plane", func(ctx context.Context) error {
			if err := s.start(S3, Etcd, APIServer, CSIDriver); err != nil {
				return err
			}
			return together(ctx, func(ctx context.Context) error { return s.healthy(ctx, APIServer) }, func(ctx context.Context) error {
				if err := s.healthy(ctx, S3); err != nil {
					return err
				}
				return s.Backups().makeBucket(ctx)
			})
		}},
		{"install the definitions", func(ctx context.Context) error {
			if err := s.start(ControllerManager, Scheduler); err != nil {
				return err
			}
			if err := s.connect(); err != nil {
				return err
			}
			return together(ctx, s.installCRDs, s.installRights)
		}},
		{"start the nodes", func(ctx context.Context) error {
			return together(ctx, s.startNodes, func(ctx context.Context) error {
				if err := s.installVelero(ctx); err != nil {
					return err
				}
				if err := s.forgetLocation(ctx); err != nil {
					return err
				}
				return s.start(Velero)
			})
		}},
		{"wait until everything is ready", func(ctx context.Context) error {
			if err := s.healthy(ctx, ControllerManager, Scheduler, Kwok, CSIDriver, Velero); err != nil {
				return err
			}
			return together(ctx, s.awaitReady, s.awaitLocation)
		}},
	}
	for _, step := range steps {
		if err := s.step(ctx, step.name, step.do); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	s.took = time.Since(s.since)
	return s.serve()
}

// startNodes starts the simulation and registers the nodes.
func (s *Stack) startNodes(ctx context.Context) error {
	if err := s.freeLeases(ctx); err != nil {
		return err
	}
	if err := s.restartPods(ctx); err != nil {
		return err
	}
	if err := s.start(Kwok, SnapshotController, NodeAgent); err != nil {
		return err
	}
	if err := s.installObjects(ctx); err != nil {
		return err
	}
	return s.powerOn(ctx)
}

// together does several things at once and returns the first error, having ended the others.
func together(ctx context.Context, do ...func(context.Context) error) error {
	return parallel(ctx, len(do), func(ctx context.Context, i int) error { return do[i](ctx) })
}

func (s *Stack) step(ctx context.Context, name string, do func(context.Context) error) error {
	began := time.Now()
	s.opt.Progress(Event{Step: name})
	if err := do(ctx); err != nil {
		return err
	}
	s.opt.Progress(Event{Step: name, Elapsed: time.Since(began), Done: true})
	return nil
}

// prepare does what needs no running component.
func (s *Stack) prepare(ctx context.Context) error {
	l := s.layout
	var err error
	if s.record, err = claim(l, s.opt); err != nil {
		return err
	}
	s.manager = process.Open(l.records(), s.exited)
	left, err := s.manager.TakeOver(ctx)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	if len(left) > 0 {
		s.opt.Progress(Event{Step: "take over", Detail: "ended what an earlier run left: " + strings.Join(left, ", "), Done: true})
	}
	if err := s.record.settle(l); err != nil {
		return err
	}
	if err := s.install(ctx); err != nil {
		return err
	}
	if err := writePKI(l, s.record); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	k, err := writeBackupKeys(l)
	if err != nil {
		return err
	}
	if err := writeAuditPolicy(l); err != nil {
		return err
	}
	for dir, mode := range map[string]os.FileMode{
		l.etcd(): 0o700, l.in("log"): 0o700, filepath.Dir(l.ControlSocket()): 0o700, l.agent(): 0o711, l.CSIState(): 0o755,
		l.s3Objects(): 0o700, l.s3Versions(): 0o700,
	} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return err
		}
		if err := os.Chmod(dir, mode); err != nil {
			return err
		}
	}
	if err := prepareVelero(l); err != nil {
		return err
	}
	db, err := nodeagent.ResolveIdentity(-1, -1)
	if err != nil {
		return err
	}
	if err := db.CanEnter(l.CSIState()); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	s.components = components(l, s.record, db, k)
	s.opt.Tokens.tokens(s.components)
	s.probe, err = newProbe(l)
	return err
}

// connect makes the client and reads the server's version, which the nodes report as theirs.
func (s *Stack) connect() error {
	cfg, err := restConfig(s.layout.kubeconfig("local-stack"))
	if err != nil {
		return err
	}
	if s.dyn, err = dynamic.NewForConfig(cfg); err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return err
	}
	v, err := d.ServerVersion()
	if err != nil {
		return fmt.Errorf("read the API server's version: %w", err)
	}
	s.version = v.GitVersion
	return nil
}
