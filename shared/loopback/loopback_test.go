package loopback

import (
	"net"
	"testing"
)

// taken listens on a port of the system's choice until the test ends.
func taken(t *testing.T) int {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestFreePort(t *testing.T) {
	for _, r := range []Range{Databases, Components} {
		port, err := r.FreePort()
		if err != nil || port < r.First || port > r.Last {
			t.Errorf("%+v: port %d, %v", r, port, err)
		}
	}
	p := taken(t)
	if port, err := (Range{p, p}).FreePort(); err == nil {
		t.Errorf("port %d is taken and counts as free", port)
	}
}

func TestPortsAreKeptAndReplacedWhenTaken(t *testing.T) {
	names := []string{"etcd", "kube-apiserver", "kwok", "velero"}
	first, err := Components.Choose(names, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, n := range names {
		if first[n] == 0 || seen[first[n]] {
			t.Fatalf("ports %v: expected one of its own for each of %v", first, names)
		}
		seen[first[n]] = true
		if p := first[n]; p < Components.First || p > Components.Last {
			t.Errorf("port %d of %s may be taken for an outgoing connection", p, n)
		}
	}
	l := listen(first["etcd"])
	if l == nil {
		t.Fatalf("port %d cannot be taken as another program would", first["etcd"])
	}
	defer l.Close()
	second, err := Components.Choose(names, first)
	if err != nil {
		t.Fatal(err)
	}
	if second["etcd"] == first["etcd"] {
		t.Errorf("port %d is taken and was chosen again", first["etcd"])
	}
	outside, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := outside.Addr().(*net.TCPAddr).Port
	_ = outside.Close()
	if got, err := Components.Choose([]string{"x"}, map[string]int{"x": port}); err != nil || got["x"] != port {
		t.Errorf("a free port of the last start: %v, %v; expected %d", got, err, port)
	}
}
