package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/infra/local/kwok"
)

const (
	// firstPause is the wait before a process is started again, doubled each time up to lastPause. A kubelet waits 10 s to
	// 5 min; here nobody else needs the machine.
	firstPause = 200 * time.Millisecond
	lastPause  = 10 * time.Second
	// steady is how long a process must have answered for the pause to be short again.
	steady = 30 * time.Second
	// writeTimeout bounds what a unit that ends still writes to the cluster, lastWord what it writes when the agent ends.
	writeTimeout = 30 * time.Second
	lastWord     = 2 * time.Second
	// seenTimeout bounds the wait until the simulation has shown that a pod is not ready.
	seenTimeout = 3 * time.Second
)

// program is what stands for a container.
type program interface {
	// start prepares and starts it. ctx bounds the preparation, not the process.
	start(ctx context.Context) (running, error)
}

// running is a started program.
type running interface {
	// ready returns when it answers, with the pod's ports and the local ports behind them.
	ready(ctx context.Context) (map[int32]int, error)
	// exited is closed when it is over; err tells why.
	exited() <-chan struct{}
	err() error
	// stop ends it cleanly, kill at once; both return when it is over.
	stop()
	kill()
}

// unit runs one pod.
type unit struct {
	a      *Agent
	pod    *corev1.Pod
	vols   []volume
	cancel context.CancelCauseFunc
	log    *slog.Logger

	restarts int
}

// end asks the unit to end; the first reason counts.
func (u *unit) end(why error) { u.cancel(why) }

// programs are those of the pod's containers that run something.
func (u *unit) programs() []program {
	var out []program
	for i := range u.pod.Spec.Containers {
		c := &u.pod.Spec.Containers[i]
		log := filepath.Join(u.a.opt.StateDir, "logs", u.pod.Namespace+"_"+u.pod.Name+"_"+c.Name+".log")
		switch repo, tag := splitImage(c.Image); repo {
		case PostgresImage:
			out = append(out, &database{u: u, c: c, log: log, engine: &postgres{programs: u.a.pg, tag: tag}})
		case MariaDBImage:
			out = append(out, &database{u: u, c: c, log: log, engine: &maria{programs: u.a.maria}})
		case ControllerImage:
			out = append(out, &sidecars{u: u, log: log})
		}
	}
	return out
}

// run plays the pod until ctx ends.
func (u *unit) run(ctx context.Context) {
	k := u.a.kube
	u.restarts, _ = strconv.Atoi(u.pod.Annotations[kwok.RestartsAnnotation])
	progs := u.programs()
	if len(progs) == 0 {
		if u.pod.Annotations[kwok.ReadyAnnotation] != "true" {
			_ = k.insist(ctx, func() error { return k.report(ctx, u.pod, true, 0) })
		}
		<-ctx.Done()
		u.finish(ctx)
		return
	}
	if u.pod.Annotations[kwok.ReadyAnnotation] != "" {
		// It ran under an earlier agent, and does no more.
		u.restarts++
		_ = k.insist(ctx, func() error { return k.report(ctx, u.pod, false, u.restarts) })
	}
	err := k.insist(ctx, func() error { return k.hold(ctx, u.pod) })
	if err == nil {
		// Volumes are reported in use before they are used.
		err = k.insist(ctx, func() error {
			n := u.a.view.node(u.pod.Spec.NodeName)
			if n == nil {
				return nil // the next reconcile ends this unit
			}
			return k.setInUse(ctx, n, u.a.inUse(n.Name))
		})
	}
	if err != nil {
		<-ctx.Done() // the pod is being deleted; the watch will say so
		u.finish(ctx)
		return
	}
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, lastPause) {
		began := time.Now()
		if err := u.once(ctx, progs); err != nil && ctx.Err() == nil {
			u.log.Warn("not running", "err", err)
			u.restarts++
			_ = k.insist(ctx, func() error { return k.report(ctx, u.pod, false, u.restarts) })
			k.event(ctx, u.pod, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container: %v", err))
		}
		if time.Since(began) > steady {
			pause = firstPause
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
	u.finish(ctx)
}

// once starts all programs, reports when they answer, and returns when one has died or ctx has ended, with none running.
func (u *unit) once(ctx context.Context, progs []program) error {
	var runs []running
	defer func() {
		for _, r := range runs {
			if why := context.Cause(ctx); errors.Is(why, errPowerOff) || errors.Is(why, errDetached) {
				r.kill()
			} else {
				r.stop()
			}
		}
	}()
	// Whatever dies ends this attempt.
	attempt, dead := context.WithCancelCause(ctx)
	defer dead(nil)
	ports := map[int32]int{}
	for _, p := range progs {
		r, err := p.start(attempt)
		if err != nil {
			return err
		}
		runs = append(runs, r)
		go func() {
			select {
			case <-r.exited():
				dead(r.err())
			case <-attempt.Done():
			}
		}()
	}
	for _, r := range runs {
		got, err := r.ready(attempt)
		if err != nil {
			return errors.Join(err, context.Cause(attempt))
		}
		for pod, local := range got {
			ports[pod] = local
		}
	}
	k := u.a.kube
	if len(ports) > 0 {
		if err := k.insist(attempt, func() error { return k.forward(attempt, u.pod, ports) }); err != nil {
			return err
		}
	}
	u.seen(attempt)
	if err := k.insist(attempt, func() error { return k.report(attempt, u.pod, true, u.restarts) }); err != nil {
		return err
	}
	u.log.Info("ready", "ports", ports, "restarts", u.restarts)
	<-attempt.Done()
	return context.Cause(attempt)
}

// scratch is where the pod writes that has no volume; it goes with the pod.
func (u *unit) scratch() string {
	return filepath.Join(u.a.opt.StateDir, "scratch", string(u.pod.UID))
}

// directory is where a container keeps its data: its volume's, or a scratch directory that goes with the pod, as an emptyDir.
func (u *unit) directory(c *corev1.Container) (string, error) {
	h, err := mounted(c, u.vols)
	if errors.Is(err, errNoVolume) {
		return u.scratch(), os.MkdirAll(u.scratch(), 0o755)
	}
	dir := filepath.Join(u.a.opt.VolumesDir, h)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("volume %s is attached and its directory cannot be read: %w", h, err)
	}
	return dir, nil
}

// seen waits until the simulation has shown that a restarted pod was not ready. It would else see only the second of two quick
// reports, and nobody would know of the restart.
func (u *unit) seen(ctx context.Context) {
	if u.restarts == 0 {
		return
	}
	end := time.NewTimer(seenTimeout)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		p := u.a.view.pod(u.pod.Namespace, u.pod.Name)
		if p == nil || p.UID != u.pod.UID || !isReady(p) {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// finish leaves the cluster as a kubelet does that has ended the pod's processes. When only the agent ends, it says that the pods
// are not ready, if the API server still listens, and leaves the rest to the next one.
func (u *unit) finish(ctx context.Context) {
	why := context.Cause(ctx)
	u.log.Info("ended", "why", why)
	k := u.a.kube
	if errors.Is(why, errShutdown) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
		defer cancel()
		k.try(ctx, u.log, "last report", func() error { return k.report(ctx, u.pod, false, u.restarts) })
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	_ = k.insist(ctx, func() error { return k.forward(ctx, u.pod, nil) })
	switch {
	case errors.Is(why, errDeleted):
		if err := os.RemoveAll(u.scratch()); err != nil {
			u.log.Warn("scratch directory", "err", err)
		}
		_ = k.insist(ctx, func() error { return k.release(ctx, u.pod) })
	case errors.Is(why, errDetached):
		_ = k.insist(ctx, func() error { return k.report(ctx, u.pod, false, u.restarts) })
		k.event(ctx, u.pod, corev1.EventTypeWarning, "FailedMount", "a volume was detached while it was in use")
	case errors.Is(why, errPowerOff):
		if p := u.a.view.pod(u.pod.Namespace, u.pod.Name); p != nil && p.UID == u.pod.UID {
			_ = k.insist(ctx, func() error { return k.markDead(ctx, p) })
		}
	}
}
