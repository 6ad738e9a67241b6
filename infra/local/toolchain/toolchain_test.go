package toolchain

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tree makes a source tree with one group of tools that needs nothing from elsewhere, and returns its configuration.
func tree(t *testing.T, progress func(Event)) (Config, Group) {
	t.Helper()
	root := t.TempDir()
	g := Group{Name: "hello", Binaries: []string{"greet"}, Rename: map[string]string{"hello": "greet"}, Assets: []Asset{
		{Module: Module + "/infra/local/tools/hello", Files: []string{"doc/notes.txt"}, To: "notes"},
	}}
	for name, text := range map[string]string{
		"go.mod":                                "module " + Module + "\n\ngo 1.26.0\n",
		"infra/local/cmd/agent/main.go":         "package main\n\nfunc main() { println(\"agent\") }\n",
		"infra/local/cmd/empty/README":          "no program yet\n",
		"infra/local/tools/hello/go.mod":        "module " + Module + "/infra/local/tools/hello\n\ngo 1.26.0\n\ntool " + Module + "/infra/local/tools/hello/hello\n",
		"infra/local/tools/hello/go.sum":        "",
		"infra/local/tools/hello/doc/notes.txt": "notes\n",
		"infra/local/tools/hello/hello/main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Config{Source: root, Cache: t.TempDir(), Progress: progress}, g
}

func TestEnsureBuildsOnceAndThenNeedsNoGo(t *testing.T) {
	var mu sync.Mutex
	built := 0
	c, g := tree(t, func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Done {
			built++
		}
	})
	var both sync.WaitGroup
	for range 2 { // at once
		both.Go(func() {
			if _, err := Ensure(t.Context(), c, g); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if built != 1 {
		t.Errorf("two callers at once built %d times, expected once", built)
	}
	t.Setenv("PATH", t.TempDir())
	tools, err := Ensure(t.Context(), c, g)
	if err != nil {
		t.Fatalf("a second time, without a go command: %v", err)
	}
	if _, err := tools.Path("greet"); err != nil {
		t.Error(err)
	}
	if _, err := tools.Path("hello"); err == nil {
		t.Error("the program kept its old name")
	}
	notes, err := tools.Assets("notes")
	if err != nil || len(notes) != 1 {
		t.Fatalf("assets: %v, %v", notes, err)
	}
	if data, err := os.ReadFile(notes[0]); err != nil || string(data) != "notes\n" {
		t.Errorf("asset: %q, %v", data, err)
	}
}

func TestEnsureRepairsAnIncompleteCache(t *testing.T) {
	c, g := tree(t, nil)
	tools, err := Ensure(t.Context(), c, g)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tools.Path("greet")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p); err != nil {
		t.Fatal(err)
	}
	if tools, err = Ensure(t.Context(), c, g); err != nil {
		t.Fatal(err)
	}
	if _, err := tools.Path("greet"); err != nil {
		t.Error(err)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	for _, s := range []struct {
		name  string
		spoil func(t *testing.T, c Config) context.Context
		want  string
	}{
		{"no go command", func(t *testing.T, _ Config) context.Context {
			t.Setenv("PATH", t.TempDir())
			return t.Context()
		}, "go command was not found"},
		{"mistake in the source", func(t *testing.T, c Config) context.Context {
			file := filepath.Join(c.Source, "infra/local/tools/hello/hello/main.go")
			if err := os.WriteFile(file, []byte("package main\n\nfunc main() { nothing() }\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			return t.Context()
		}, "undefined: nothing"},
		{"interrupted", func(t *testing.T, _ Config) context.Context {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errors.New("enough"))
			return ctx
		}, "interrupted: enough"},
	} {
		t.Run(s.name, func(t *testing.T) {
			c, g := tree(t, nil)
			ctx := s.spoil(t, c)
			_, err := Ensure(ctx, c, g)
			if err == nil || !strings.Contains(err.Error(), s.want) {
				t.Fatalf("%v, expected %q", err, s.want)
			}
			entries, err := os.ReadDir(filepath.Join(c.Cache, "tools"))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if !strings.HasSuffix(e.Name(), ".lock") {
					t.Errorf("%s is left in the cache", e.Name())
				}
			}
		})
	}
}

func TestKeyFollowsEveryInput(t *testing.T) {
	c, g := tree(t, nil)
	before, err := c.recipe(g)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.recipe(g); err != nil || again.key != before.key {
		t.Errorf("key %q then %q, %v: expected the same", before.key, again.key, err)
	}
	seen := map[string]string{before.key: "before"}
	check := func(what string, g Group) {
		r, err := c.recipe(g)
		if err != nil {
			t.Fatal(err)
		}
		if old, dup := seen[r.key]; dup {
			t.Errorf("%s: the key is that of %s", what, old)
		}
		seen[r.key] = what
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		file := filepath.Join(c.Source, "infra/local/tools/hello", name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(data, "\n// other\n"...), 0o644); err != nil {
			t.Fatal(err)
		}
		check(name, g)
	}
	main := filepath.Join(c.Source, "infra/local/tools/hello/hello/main.go")
	if err := os.WriteFile(main, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("the module's own program", g)
	more := g
	more.Binaries = append([]string{"other"}, g.Binaries...)
	check("another program", more)
}

func TestMainsAreBuiltEveryTime(t *testing.T) {
	c, _ := tree(t, nil)
	for _, says := range []string{"one", "two"} {
		file := filepath.Join(c.Source, "infra/local/cmd/agent/main.go")
		if err := os.WriteFile(file, []byte("package main\n\nfunc main() { println(\""+says+"\") }\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		own, err := Mains(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		p, err := own.Path("agent")
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(data), says) {
			t.Errorf("the program does not hold %q (%v)", says, err)
		}
	}
}

func TestFindSource(t *testing.T) {
	c, _ := tree(t, nil)
	// A nested module is passed by: its go.mod declares another.
	got, err := FindSource(filepath.Join(c.Source, "infra/local/tools/hello/hello"))
	if err != nil || got != c.Source {
		t.Errorf("%q, %v; expected %q", got, err, c.Source)
	}
	if _, err := FindSource(t.TempDir()); !errors.Is(err, ErrNoSource) {
		t.Errorf("outside of a source tree: %v, expected ErrNoSource", err)
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv(CacheEnv, "/some/where")
	if got, err := CacheDir(); err != nil || got != "/some/where" {
		t.Errorf("%q, %v; expected that of %s", got, err, CacheEnv)
	}
	t.Setenv(CacheEnv, "")
	t.Setenv("XDG_CACHE_HOME", "/cache")
	t.Setenv("HOME", "/home/someone")
	if got, err := CacheDir(); err != nil || filepath.Base(got) != "fallback-chain" {
		t.Errorf("%q, %v; expected fallback-chain in the user's cache directory", got, err)
	}
}

// TestGroupsFitTheirModules holds what groups say against the go.mod files of this repository.
func TestGroupsFitTheirModules(t *testing.T) {
	root, err := FindSource(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range append(Stack(), Sanity()) {
		mod, err := os.ReadFile(filepath.Join(root, "infra/local/tools", g.Name, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := modulePath(mod), Module+"/infra/local/tools/"+g.Name; got != want {
			t.Errorf("module %q, expected %q", got, want)
		}
		for _, b := range g.Binaries {
			name := b
			for from, to := range g.Rename {
				if to == b {
					name = from
				}
			}
			if !strings.Contains(string(mod), "/"+name+"\n") && !strings.Contains(string(mod), "/"+name+"/v") {
				t.Errorf("%s: no tool directive for %s", g.Name, b)
			}
		}
		for _, a := range g.Assets {
			if _, ok := moduleVersion(mod, a.Module); !ok {
				t.Errorf("%s: go.mod does not require %s, whose files are copied", g.Name, a.Module)
			}
		}
	}
}
