package stack

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClaim(t *testing.T) {
	put := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name  string
		have  func(t *testing.T, dir string)
		nodes int
		want  int // nodes
		err   string
	}{
		{name: "empty", want: DefaultNodes},
		{name: "only our lock", have: put("lock", ""), want: DefaultNodes},
		{name: "as before", have: put("stack.json", `{"kind":"fallback-local-stack","version":1,"nodes":5}`), want: 5},
		{name: "changed", have: put("stack.json", `{"kind":"fallback-local-stack","version":1,"nodes":5}`), nodes: 2, want: 2},
		{name: "other files", have: put("thesis.tex", ""), err: "thesis.tex"},
		{name: "of another", have: put("stack.json", `{"kind":"other","version":1}`), err: `kind "other"`},
		{name: "of another version", have: put("stack.json", `{"kind":"fallback-local-stack","version":7}`), err: "version 7"},
		{name: "broken", have: put("stack.json", `{`), err: "stack.json"},
		{name: "too many nodes", nodes: 27, err: "expected 1 to 26"},
		{name: "too few nodes", nodes: -1, err: "expected 1 to 26"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Layout{Dir: t.TempDir()}
			if c.have != nil {
				c.have(t, l.Dir)
			}
			r, err := claim(l, Options{Name: "x", Nodes: c.nodes})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v, expected %q", err, c.err)
				}
				return
			}
			if err != nil || r.Nodes != c.want {
				t.Fatalf("%d nodes, %v; expected %d", r.Nodes, err, c.want)
			}
			if again, err := readRecord(l); err != nil || again.Nodes != c.want {
				t.Errorf("read back: %+v, %v", again, err)
			}
		})
	}
}

func TestPurgeDeletesOnlyStacks(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Purge(dir); !errors.Is(err, ErrNoStack) {
		t.Errorf("%v, expected ErrNoStack", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a directory that is no stack's was deleted: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	for name, ok := range map[string]bool{"default": true, "a-1": true, "": false, "A": false, "../x": false, "-a": false, "a-": false,
		strings.Repeat("a", 40): true, strings.Repeat("a", 41): false} {
		dir, err := DefaultDir(name)
		if (err == nil) != ok {
			t.Errorf("name %q: %v, expected good: %t", name, err, ok)
		}
		if ok && dir != "/state/fallback-chain/"+name {
			t.Errorf("name %q: %s", name, dir)
		}
	}
}

func TestSocketsFitTheKernel(t *testing.T) {
	for _, dir := range []string{"/var/lib/fallback-chain/default", "/" + strings.Repeat("long/", 40)} {
		l, same := Layout{Dir: dir}, Layout{Dir: dir}
		for _, p := range []string{l.ControlSocket(), l.CSISocket()} {
			if len(p) > maxSocketPath {
				t.Errorf("%s: %d bytes", p, len(p))
			}
		}
		if l.ControlSocket() != same.ControlSocket() || l.ControlSocket() == (Layout{Dir: dir + "x"}).ControlSocket() {
			t.Errorf("%s: the socket must be found again and be its own", l.ControlSocket())
		}
	}
}

func TestObjectsAreWhole(t *testing.T) {
	all, err := decode(objects)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range all {
		names = append(names, u.GetKind()+"/"+u.GetName())
	}
	want := "CSIDriver/" + DriverName + " StorageClass/" + StorageClass + " VolumeSnapshotClass/" + SnapshotClass + " Deployment/" + CSIController
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	for _, u := range all {
		for _, field := range []string{"provisioner", "driver"} {
			if v, ok := u.Object[field]; ok && v != DriverName {
				t.Errorf("%s %s: %s is %v, expected %s", u.GetKind(), u.GetName(), field, v, DriverName)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(objects)
	f.Add([]byte("a: [\n---\n{}"))
	f.Fuzz(func(t *testing.T, docs []byte) {
		all, err := decode(docs)
		if err == nil {
			for _, u := range all {
				if len(u.Object) == 0 {
					t.Error("an empty object")
				}
			}
		}
	})
}

func TestFailedChecks(t *testing.T) {
	for body, want := range map[string]string{
		"ok": "",
		"[+]ping ok\n[-]etcd failed: reason withheld\n[-]x failed\nreadyz check failed\n": ": etcd failed: reason withheld, x failed",
	} {
		if got := failed(body); got != want {
			t.Errorf("%q: %q, expected %q", body, got, want)
		}
	}
}

func TestConnectTellsWhatIsMissing(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	if _, err := Connect(l.Dir); !errors.Is(err, ErrNoStack) {
		t.Errorf("an empty directory: %v, expected ErrNoStack", err)
	}
	if err := (record{Kind: kind, Version: recordVersion, Name: "x", Nodes: 3}).write(l); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(l.Dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stack that is down: %v, expected ErrNotRunning", err)
	}
	st, err := StatusOf(t.Context(), l.Dir)
	if err != nil || st.Running || st.Ready || st.Name != "x" || st.Nodes != 3 {
		t.Errorf("its status: %+v, %v", st, err)
	}
	if ran, err := Down(t.Context(), l.Dir); err != nil || ran {
		t.Errorf("stopping it: %t, %v", ran, err)
	}
}
