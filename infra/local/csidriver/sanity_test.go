package csidriver_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"fallbackchain.io/fallback/infra/local/csidriver"
	"fallbackchain.io/fallback/infra/local/toolchain"
)

// serve starts a driver on a socket and returns a connection to it, and the socket and the state directory.
func serve(t *testing.T) (*grpc.ClientConn, string, string) {
	t.Helper()
	// A unix socket's path is short; the test's own directory may be long.
	dir := t.TempDir()
	sock := filepath.Join(dir, "c.sock")
	conn := serveAt(t, sock, filepath.Join(dir, "state"))
	return conn, sock, filepath.Join(dir, "state")
}

func serveAt(t *testing.T, sock, state string) *grpc.ClientConn {
	t.Helper()
	d, err := csidriver.New(csidriver.Options{StateDir: state, NodePrefix: "node-"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, sock) }()
	conn, err := grpc.NewClient("unix://"+sock, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return conn
}

// TestSanity runs the conformance test of the Container Storage Interface (https://github.com/kubernetes-csi/csi-test).
func TestSanity(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	tools, err := toolchain.Ensure(ctx, toolchain.Config{}, toolchain.Sanity())
	if err != nil {
		t.Fatalf("csi-sanity is missing and could not be built, run `make tools`: %v", err)
	}
	bin, err := tools.Path("csi-sanity")
	if err != nil {
		t.Fatalf("csi-sanity is missing, run `make tools`: %v", err)
	}
	_, sock, _ := serve(t)
	dir := t.TempDir()
	out, err := exec.CommandContext(ctx, bin, "--csi.endpoint="+sock, "--csi.mountdir="+filepath.Join(dir, "mount"),
		"--csi.stagingdir="+filepath.Join(dir, "staging"), "--ginkgo.no-color", "--ginkgo.succinct").CombinedOutput()
	if err != nil {
		t.Fatalf("csi-sanity: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "SUCCESS!") {
		t.Fatalf("csi-sanity did not say SUCCESS:\n%s", out)
	}
}
