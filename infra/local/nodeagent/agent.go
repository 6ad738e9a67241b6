package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/infra/local/csidriver/inuse"
	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
)

// Options of an agent. All directories are required.
type Options struct {
	Client dynamic.Interface
	// Kubeconfig and CSISocket are handed to the CSI sidecars.
	Kubeconfig string
	CSISocket  string
	// VolumesDir holds one directory a volume, named by volume handle.
	VolumesDir string
	// StateDir holds logs, process records and what pods without a volume write.
	StateDir string
	// BinDir holds the CSI sidecars.
	BinDir string
	// RunAs is the user databases run as.
	RunAs Identity
	Log   *slog.Logger
}

// Agent runs the pods of the simulated nodes.
type Agent struct {
	opt   Options
	kube  kube
	view  *view
	procs *records
	pg    *binaries[string]
	maria *binaries[mariadb.Programs]
	wake  chan struct{}

	mu    sync.Mutex
	units map[types.UID]*unit
	done  sync.WaitGroup
}

// Why a unit ends.
var (
	errDeleted  = errors.New("the pod is deleted")
	errDetached = errors.New("a volume is no longer attached")
	errPowerOff = errors.New("the node is dead")
	errShutdown = errors.New("the agent ends")
)

// New checks the options and ends what a killed agent left running.
func New(opt Options) (*Agent, error) {
	for name, v := range map[string]string{"volumes directory": opt.VolumesDir, "state directory": opt.StateDir} {
		if v == "" {
			return nil, fmt.Errorf("node agent: the %s is empty, expected a path", name)
		}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	var err error
	for _, d := range []*string{&opt.VolumesDir, &opt.StateDir} {
		if *d, err = filepath.Abs(*d); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{opt.StateDir, filepath.Join(opt.StateDir, "logs"), filepath.Join(opt.StateDir, "scratch")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("node agent: state directory: %w", err)
		}
	}
	for _, d := range []string{opt.VolumesDir, opt.StateDir} {
		if err := opt.RunAs.CanEnter(d); err != nil {
			return nil, fmt.Errorf("node agent: %w", err)
		}
	}
	recs, err := takeOver(filepath.Join(opt.StateDir, "processes.json"))
	if err != nil {
		return nil, fmt.Errorf("node agent: processes of an earlier agent: %w", err)
	}
	if err := killUsers(opt.VolumesDir); err != nil {
		return nil, fmt.Errorf("node agent: processes of an earlier agent: %w", err)
	}
	return &Agent{opt: opt, kube: kube{opt.Client}, procs: recs, wake: make(chan struct{}, 1), units: map[types.UID]*unit{},
		pg:    findPostgres(filepath.Join(opt.StateDir, "postgresql"), opt.RunAs),
		maria: findMariaDB(opt.StateDir, opt.RunAs)}, nil
}

// Run plays the kubelet until ctx ends, and returns when all processes have ended.
func (a *Agent) Run(ctx context.Context) error {
	a.view = newView(a.opt.Client, a.poke)
	if err := a.view.start(ctx); err != nil {
		return err
	}
	a.opt.Log.Info("watching", "volumes", a.opt.VolumesDir, "runAs", a.opt.RunAs.String())
	// Units outlive the end of ctx by their clean shutdown; what they write is bounded by the agent's own end.
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	for {
		a.reconcile(own)
		select {
		case <-ctx.Done():
			cancel(errShutdown)
			a.done.Wait()
			a.view.wait()
			return nil
		case <-a.wake:
		}
	}
}

// poke asks for a reconcile.
func (a *Agent) poke() {
	select {
	case a.wake <- struct{}{}:
	default: // one is due already
	}
}

// reconcile starts and ends units so that they are what the cluster says.
func (a *Agent) reconcile(ctx context.Context) {
	pods := a.view.pods()
	seen := make(map[types.UID]bool, len(pods))
	for _, p := range pods {
		if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		seen[p.UID] = true
		a.reconcilePod(ctx, p)
	}
	a.mu.Lock()
	for uid, u := range a.units {
		if !seen[uid] {
			u.end(errDeleted)
		}
	}
	a.mu.Unlock()
	for _, n := range a.view.nodes() {
		if alive(n) {
			a.kube.try(ctx, a.opt.Log, "volumes in use", func() error { return a.kube.setInUse(ctx, n, a.inUse(n.Name)) })
		}
	}
}

func (a *Agent) reconcilePod(ctx context.Context, p *corev1.Pod) {
	u := a.unit(p.UID)
	ours := u != nil || p.Annotations[kwok.ReadyAnnotation] != "" || hasFinalizer(p)
	switch n := a.view.node(p.Spec.NodeName); {
	case !alive(n):
		if u != nil {
			u.end(errPowerOff)
		} else if ours {
			a.kube.try(ctx, a.opt.Log, "dead pod", func() error { return a.kube.markDead(ctx, p) })
		}
	case p.DeletionTimestamp != nil:
		if u != nil {
			u.end(errDeleted)
		} else if hasFinalizer(p) {
			a.kube.try(ctx, a.opt.Log, "release", func() error { return a.kube.release(ctx, p) })
		}
	default:
		vols, waiting := a.view.volumes(p)
		switch {
		case waiting != "" && u != nil:
			u.end(errDetached)
		case waiting != "":
			a.opt.Log.Debug("waiting", "pod", p.Namespace+"/"+p.Name, "for", waiting)
		case u == nil && !a.claimed(vols):
			a.begin(ctx, p, vols)
		}
	}
}

// begin starts a unit.
func (a *Agent) begin(ctx context.Context, p *corev1.Pod, vols []volume) {
	ctx, cancel := context.WithCancelCause(ctx)
	u := &unit{a: a, pod: p, vols: vols, cancel: cancel, log: a.opt.Log.With("pod", p.Namespace+"/"+p.Name)}
	a.mu.Lock()
	a.units[p.UID] = u
	a.mu.Unlock()
	a.done.Go(func() {
		u.run(ctx)
		cancel(nil)
		a.mu.Lock()
		delete(a.units, p.UID)
		a.mu.Unlock()
		a.poke()
	})
}

func (a *Agent) unit(uid types.UID) *unit {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.units[uid]
}

// claimed tells whether a unit still uses one of the volumes: the pod before this one, whose processes are ending.
func (a *Agent) claimed(vols []volume) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.units {
		for _, have := range u.vols {
			for _, v := range vols {
				if v.handle != "" && v.handle == have.handle {
					return true
				}
			}
		}
	}
	return false
}

// inUse are the attached volumes of the units on a node, as kubelets name them.
func (a *Agent) inUse(node string) []corev1.UniqueVolumeName {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []corev1.UniqueVolumeName
	for _, u := range a.units {
		if u.pod.Spec.NodeName == node {
			for _, v := range u.vols {
				if v.unique != "" {
					out = append(out, v.unique)
				}
			}
		}
	}
	return out
}

// alive tells whether a node is simulated and switched on.
func alive(n *corev1.Node) bool {
	return n != nil && n.Annotations[kwok.ManagedAnnotation] == kwok.ManagedValue && n.Annotations[PowerAnnotation] != PowerOff
}

// killUsers kills everything that works in dir and waits until it is gone.
func killUsers(dir string) error {
	if err := inuse.ThawAll(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return eachUserDead(dir)
}
