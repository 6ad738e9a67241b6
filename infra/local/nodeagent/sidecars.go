package nodeagent

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"fallbackchain.io/fallback/shared/loopback"
)

// sidecars stands for a container of ControllerImage: the CSI project's own provisioner, attacher and snapshotter, each a
// process. One that dies takes the others with it, as the container would.
type sidecars struct {
	u   *unit
	log string
}

// sidecarSet is the running three.
type sidecarSet struct {
	children []*child
	ports    []int // where each serves its metrics, once it has spoken with the driver
	once     sync.Once
	over     chan struct{}
	first    error
}

// common are the flags all three take. The waits between attempts are short because a driver on this machine is not relieved
// by longer ones.
func (s *sidecars) common(port int) []string {
	o := s.u.a.opt
	return []string{"--csi-address=" + o.CSISocket, "--kubeconfig=" + o.Kubeconfig, "--http-endpoint=127.0.0.1:" + strconv.Itoa(port),
		"--retry-interval-start=500ms", "--retry-interval-max=5s", "--kube-api-qps=100", "--kube-api-burst=200", "--v=2"}
}

// own are the flags of each. Capacity objects are owned by nothing (level -1), for the processes' pod may be replaced.
func own() []struct {
	name string
	args []string
} {
	return []struct {
		name string
		args []string
	}{
		{"csi-provisioner", []string{"--feature-gates=Topology=true", "--extra-create-metadata", "--enable-capacity",
			"--capacity-ownerref-level=-1", "--capacity-poll-interval=15s",
			// It tries once to take its finalizer off a snapshot that it made a volume from; what meets a conflict then is left to this sweep.
			"--snapshot-orphan-sweep-interval=2s"}},
		{"csi-attacher", nil},
		{"csi-snapshotter", []string{"--extra-create-metadata"}},
	}
}

func (s *sidecars) start(context.Context) (running, error) {
	set := &sidecarSet{over: make(chan struct{})}
	for _, o := range own() {
		port, err := loopback.Databases.FreePort()
		if err == nil {
			var ch *child
			ch, err = s.u.a.procs.run(command{name: o.name, path: filepath.Join(s.u.a.opt.BinDir, o.name), args: append(s.common(port), o.args...),
				env: append(minimalEnv(), "NAMESPACE="+s.u.pod.Namespace, "POD_NAME="+s.u.pod.Name),
				log: s.log, stopWith: syscall.SIGTERM, grace: 5 * time.Second})
			if err == nil {
				set.children, set.ports = append(set.children, ch), append(set.ports, port)
				go set.watch(ch)
				continue
			}
		}
		set.kill()
		return nil, err
	}
	return set, nil
}

func (s *sidecarSet) watch(ch *child) {
	<-ch.exited()
	s.once.Do(func() {
		s.first = ch.err()
		close(s.over)
	})
}

// ready waits until each serves its metrics, which it does after it has asked the driver for its name and abilities.
func (s *sidecarSet) ready(ctx context.Context) (map[int32]int, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for _, p := range s.ports {
		for {
			c, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(p))
			if err == nil {
				_ = c.Close()
				break
			}
			select {
			case <-tick.C:
			case <-s.over:
				return nil, s.first
			case <-ctx.Done():
				return nil, fmt.Errorf("the CSI sidecars do not answer: %w", context.Cause(ctx))
			}
		}
	}
	return nil, nil
}

func (s *sidecarSet) exited() <-chan struct{} { return s.over }
func (s *sidecarSet) err() error              { return s.first }

func (s *sidecarSet) each(end func(*child)) {
	var wg sync.WaitGroup
	for _, ch := range s.children {
		wg.Go(func() { end(ch) })
	}
	wg.Wait()
}

func (s *sidecarSet) stop() { s.each((*child).stop) }
func (s *sidecarSet) kill() { s.each((*child).kill) }
