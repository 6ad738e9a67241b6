// Package loopback chooses ports of the loopback interface for database servers.
package loopback

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
)

// firstPort and ports bound what is chosen. They lie below the ports that Linux gives to outgoing connections (32768 to 60999,
// https://docs.kernel.org/networking/ip-sysctl.html, ip_local_port_range): on a busy machine one of those is soon taken for a connection.
const (
	firstPort = 10000
	ports     = 5000
)

// FreePort is a TCP port of 127.0.0.1 that nobody listens on now. Another process may take it before the caller does.
func FreePort() (int, error) {
	from := rand.IntN(ports) // callers at the same time do not meet
	for i := range ports {
		port := firstPort + (from+i)%ports
		if free(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port on 127.0.0.1 from %d to %d", firstPort, firstPort+ports-1)
}

func free(port int) bool {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
