package loopback

import (
	"net"
	"testing"
)

func TestFreePort(t *testing.T) {
	port, err := FreePort()
	if err != nil || port < firstPort || port >= firstPort+ports {
		t.Fatalf("port %d, %v", port, err)
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if taken := l.Addr().(*net.TCPAddr).Port; free(taken) {
		t.Errorf("port %d is taken and counts as free", taken)
	}
}
