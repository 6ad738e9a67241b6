package process

import (
	"os"
	"strings"
	"testing"
)

const killedWithParent = true

func TestStartTicks(t *testing.T) {
	rest := " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for _, c := range []struct{ name, stat, want, err string }{
		{"plain", "12 (etcd) S" + rest, "4711", ""},
		{"name with spaces and parentheses", "12 (a) (b c) S" + rest, "4711", ""},
		{"zombie", "12 (etcd) Z" + rest, "", "it has exited"},
		{"no name", "12 etcd", "", "no program name"},
		{"too short", "12 (etcd) S 1 2", "", "fields"},
		{"not a number", "12 (etcd) S" + strings.Replace(rest, "4711", "x", 1), "", "not a number"},
	} {
		got, err := startTicks(c.stat)
		if got != c.want || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %q, %v; expected %q, %q", c.name, got, err, c.want, c.err)
		}
	}
}

func FuzzStartTicks(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(own))
	f.Add("1 (x) S")
	f.Fuzz(func(t *testing.T, stat string) {
		got, err := startTicks(stat)
		if (err == nil) != (got != "") {
			t.Errorf("%q, %v: expected one of both", got, err)
		}
	})
}
