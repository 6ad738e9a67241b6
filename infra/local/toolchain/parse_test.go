package toolchain

import (
	"errors"
	"strings"
	"testing"
)

func TestBuildFlags(t *testing.T) {
	mod := []byte("module m\n\nrequire (\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n")
	got, err := buildFlags(Group{VersionOf: "k8s.io/kubernetes"}, mod)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36"} {
		if !strings.Contains(strings.Join(got, " "), want) {
			t.Errorf("%q lacks %s", got, want)
		}
	}
	velero := "github.com/vmware-tanzu/velero"
	got, err = buildFlags(Group{VersionOf: velero}, []byte("module m\nrequire "+velero+" v1.18.3\n"))
	if want := velero + "/pkg/buildinfo.Version=v1.18.3"; err != nil || !strings.Contains(strings.Join(got, " "), want) {
		t.Errorf("%q, %v; expected %s", got, err, want)
	}
	if _, err := buildFlags(Group{VersionOf: "k8s.io/kubernetes"}, []byte("module m\n")); err == nil {
		t.Error("no version, expected an error")
	}
}

func TestExplain(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, c := range []struct{ stderr, want string }{
		{"write /x: no space left on device", "the disk is full"},
		{"go: a@v1: Get \"https://proxy/a\": dial tcp 1.2.3.4:443: connection refused", "could not be downloaded"},
		{"# m\n./main.go:3: undefined: x", "undefined: x"},
	} {
		if err := explain(t.Context(), []string{"build"}, c.stderr, failed); !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, expected %q", c.stderr, err, c.want)
		}
	}
}

func TestProgress(t *testing.T) {
	p := &progress{}
	for _, l := range []string{"go: downloading k8s.io/api v0.36.3", "k8s.io/api/core/v1", "internal/abi", "# k8s.io/api", "x.go:3:4: undefined: y"} {
		want := l[0] != '#' && l[0] != 'x'
		if got := p.line(l); got != want {
			t.Errorf("line %q is progress: %t, expected %t", l, got, want)
		}
	}
	p.set(10)
	if e := p.event("build"); e.Detail != "2 packages compiled, 10 at most" {
		t.Errorf("detail %q", e.Detail)
	}
}

func FuzzProgress(f *testing.F) {
	f.Add("go: downloading k8s.io/api v0.36.3")
	f.Add("# pkg")
	f.Fuzz(func(t *testing.T, line string) {
		p := &progress{}
		if p.line(line) != (p.built+p.downloaded == 1) {
			t.Errorf("%q: counted %d and %d", line, p.built, p.downloaded)
		}
	})
}

func FuzzModuleVersion(f *testing.F) {
	f.Add("module m\nrequire k8s.io/kubernetes v1.36.3\n")
	f.Fuzz(func(t *testing.T, mod string) {
		if v, ok := moduleVersion([]byte(mod), "k8s.io/kubernetes"); ok != strings.HasPrefix(v, "v") {
			t.Errorf("%q, %t", v, ok)
		}
	})
}
