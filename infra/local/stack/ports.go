package stack

import (
	"fmt"
	"math/rand/v2"
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

// firstPort and lastPort bound what is chosen. They lie below the ports that Linux gives to outgoing connections (32768 to 60999,
// https://docs.kernel.org/networking/ip-sysctl.html, ip_local_port_range): on a busy machine one of those is soon taken for a connection,
// between the choice and the component's own listening. NodePorts begin at 30000.
const (
	firstPort = 15000
	lastPort  = 29999
)

// choosePorts returns a free loopback port for each name, those of the last start where they are still free. All are held while
// choosing, so that no port is chosen twice, and the search begins anywhere, so that two stacks that start at once do not meet; between
// here and the component's own listening another program may take one, and then the component says so and the start fails.
func choosePorts(before map[string]int, names []string) (map[string]int, error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	next := firstPort + rand.IntN(lastPort-firstPort+1)
	free := func() (net.Listener, error) {
		for range lastPort - firstPort + 1 {
			port := next
			if next++; next > lastPort {
				next = firstPort
			}
			if l, err := listen(port); err == nil {
				return l, nil
			}
		}
		return listen(0)
	}
	ports := map[string]int{}
	for _, n := range names {
		l, err := again(before[n], free)
		if err != nil {
			return nil, fmt.Errorf("no free port on 127.0.0.1 for %s: %w", n, err)
		}
		held = append(held, l)
		ports[n] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// again listens on the port of the last start, else on one that is free.
func again(before int, free func() (net.Listener, error)) (net.Listener, error) {
	if before != 0 {
		if l, err := listen(before); err == nil {
			return l, nil
		}
	}
	return free()
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
}
