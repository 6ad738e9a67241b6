// Package sampletest starts a local stack with the sample on it for a test.
package sampletest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/velero"
)

// Shop is a running stack with the sample deployed.
type Shop struct {
	Stack   *stack.Stack
	Dir     string
	Options sample.Options
	Client  *cluster.Client
	// Plan and VeleroPlan are the files of the plans whose inventory is the manifest bundle and the Velero backups.
	Plan, VeleroPlan string
}

// Up starts a stack of the test's own and deploys the sample. Both end with the test. The programs must have been built.
func Up(t *testing.T) *Shop {
	t.Helper()
	// Not t.TempDir, which is closed to the user that databases run as when the test runs as root.
	root, err := os.MkdirTemp("", "fallback-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o711); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "s")
	s, err := stack.Up(t.Context(), stack.Options{Dir: dir, OnExit: func(e process.Event) { t.Log(e) }})
	if err != nil {
		t.Fatalf("the local stack does not start (its programs are built by `make tools`): %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			for _, c := range []string{stack.NodeAgent, stack.CSIDriver, stack.Kwok, stack.Velero} {
				t.Logf("end of %s's log:\n%s", c, process.Tail(s.Layout().Log(c), 4000))
			}
		}
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop the stack: %v", err)
		}
	})
	o := sample.Options{Kubeconfig: s.Kubeconfig(), StackDir: dir, Dir: sample.DefaultDir(dir)}
	d, err := sample.Deploy(t.Context(), o)
	if err != nil {
		t.Fatalf("deploy the sample: %v", err)
	}
	c, err := cluster.FromKubeconfig(o.Kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	return &Shop{s, dir, o, c, d.Plan, d.VeleroPlan}
}

// Backup takes a Velero backup of the shop and fails the test unless it completes.
func (s *Shop) Backup(t *testing.T, name string) *velero.Backup {
	t.Helper()
	b, err := sample.Backup(t.Context(), s.Client, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// WantOrders fails the test unless the servers hold these orders, by ordinal.
func (s *Shop) WantOrders(t *testing.T, want ...int) {
	t.Helper()
	got, err := sample.Counts(t.Context(), s.Options.Kubeconfig, sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range want {
		if got[sample.Pod(i)] != n {
			t.Errorf("orders %v, want %v", got, want)
			return
		}
	}
}

// Wait evaluates done at every change of the sources and fails the test when it has not said true within three minutes.
func (s *Shop) Wait(t *testing.T, what string, done func(context.Context) (bool, error), sources ...cluster.Source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ok, err := s.Client.WaitFor(ctx, time.Second, sources, done)
	if err != nil || !ok {
		t.Fatalf("wait for %s: %t %v", what, ok, err)
	}
}
