package stack

import (
	"fmt"
	"net"
)

// The ports of a stack, by what listens on them.
const (
	portEtcd      = "etcd"
	portEtcdPeer  = "etcd-peer"
	portAPIServer = "kube-apiserver"
	portManager   = "kube-controller-manager"
	portScheduler = "kube-scheduler"
	portKwok      = "kwok"
	portS3        = "versitygw"
	// portVelero serves Velero's metrics.
	portVelero         = "velero"
	portVeleroProfiler = "velero-profiler"
)

func portNames() []string {
	return []string{portEtcd, portEtcdPeer, portAPIServer, portManager, portScheduler, portKwok, portS3, portVelero, portVeleroProfiler}
}

// choosePorts returns a free loopback port for each name, those of the last start where they are still free. All are held while
// choosing, so that no port is chosen twice; between here and the component's own listening another program may take one, and
// then the component says so and the start fails.
func choosePorts(before map[string]int, names []string) (map[string]int, error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	ports := map[string]int{}
	for _, n := range names {
		l, err := listen(before[n])
		if err != nil {
			l, err = listen(0)
		}
		if err != nil {
			return nil, fmt.Errorf("no free port on 127.0.0.1 for %s: %w", n, err)
		}
		held = append(held, l)
		ports[n] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
}
