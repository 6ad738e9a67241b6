package faults

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestUnknownFault(t *testing.T) {
	err := Break(context.Background(), "meteor", Options{StackDir: t.TempDir()})
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "attach-error") {
		t.Errorf("error %v, want it to name the faults there are", err)
	}
}

func TestBreakWithoutAStack(t *testing.T) {
	for name, o := range map[string]Options{"no directory": {}, "an empty directory": {StackDir: t.TempDir()}} {
		if err := Break(context.Background(), "bad-data", o); err == nil {
			t.Errorf("%s: it broke something", name)
		}
	}
}

func TestEveryFaultIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range List() {
		if f.Name == "" || f.What == "" || f.Shows == "" || f.do == nil || seen[f.Name] {
			t.Errorf("%+v: expected a name of its own, what it does and what it shows", f)
		}
		seen[f.Name] = true
	}
}

// TestCommandFollowsItsParent: the stack is the one that the parent's flags name.
func TestCommandFollowsItsParent(t *testing.T) {
	dir := t.TempDir()
	parent := &cobra.Command{Use: "local", SilenceUsage: true, SilenceErrors: true}
	parent.PersistentFlags().String("name", "", "")
	parent.PersistentFlags().String("dir", "", "")
	parent.AddCommand(New(), NewReset())
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		parent.SetOut(&out)
		parent.SetArgs(args)
		err := parent.ExecuteContext(t.Context())
		return out.String(), err
	}
	if out, err := run("break"); err != nil || !strings.Contains(out, "everything-gone") {
		t.Errorf("break without a name: %q (%v), want the list", out, err)
	}
	if _, err := run("break", "bad-data", "--dir", dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v, want it to name %s", err, dir)
	}
	if _, err := run("reset", "--dir", dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v, want it to name %s", err, dir)
	}
}

func TestSpoil(t *testing.T) {
	dir := t.TempDir()
	if err := spoil(dir); err == nil {
		t.Error("a bundle without the ConfigMap was spoilt")
	}
	file := filepath.Join(dir, "08-configmap.yaml")
	if err := os.WriteFile(file, []byte("kind: ConfigMap\ndata:\n  currency: EUR\n  database: shop\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := spoil(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), "currency: USD") || !strings.Contains(string(b), "database: shop") {
		t.Errorf("file is %q (%v), want another currency and nothing else", b, err)
	}
}
