// Package loopback chooses TCP ports of 127.0.0.1 for servers that are started here and listen by themselves.
package loopback

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
)

// Range is a range of ports that one kind of server is given, so that kinds do not take each other's.
type Range struct{ First, Last int }

// The ranges lie below the ports that Linux gives to outgoing connections (32768 to 60999,
// https://docs.kernel.org/networking/ip-sysctl.html, ip_local_port_range): on a busy machine one of those is soon taken for a connection,
// between the choice and the server's own listening. NodePorts begin at 30000.
var (
	// Databases is for servers that come and go: databases, and what stands beside them.
	Databases = Range{10000, 14999}
	// Components is for those of a local stack, whose ports are kept over restarts.
	Components = Range{15000, 29999}
)

// FreePort is a port of the range that nobody listens on now. Another process may take it before the caller does.
func (r Range) FreePort() (int, error) {
	ports, err := r.Choose([]string{""}, nil)
	return ports[""], err
}

// Choose returns a free port for each name, the one it had before where that is still free, wherever it lies. All are held while
// choosing, so that no port is chosen twice, and the search begins anywhere, so that two who choose at once do not meet; between here and
// the server's own listening another program may take one.
func (r Range) Choose(names []string, before map[string]int) (map[string]int, error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	size := r.Last - r.First + 1
	from := rand.IntN(size)
	ports := make(map[string]int, len(names))
	for _, n := range names {
		l := listen(before[n])
		for i := 0; l == nil && i < size; i++ {
			l = listen(r.First + (from+i)%size)
		}
		if l == nil {
			return nil, fmt.Errorf("no free port on 127.0.0.1 from %d to %d for %q", r.First, r.Last, n)
		}
		held = append(held, l)
		ports[n] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// listen returns nil where the port is taken, and for port 0, which is none.
func listen(port int) net.Listener {
	if port == 0 {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil
	}
	return l
}
