package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
)

// The test program is also the supervisor that is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("SUPERVISE")
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := stack.Up(context.Background(), stack.Options{Dir: dir, Name: "e2e"}); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	println("ready")
	select {}
}

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	pods       = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	claims     = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	secrets    = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// TestStack runs through the life of a stack: started by a supervisor that is killed, taken over with its data, its API server
// stopped in the middle, stopped, deleted.
func TestStack(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // a cold build of our own programs included
	defer cancel()
	dir := stacktest.Dir(t)
	supervisor := supervise(t, dir)

	c, err := stack.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := c.Status(ctx)
	if err != nil || !st.Ready || st.Supervisor != supervisor.Process.Pid || len(st.Components) != 10 {
		t.Fatalf("status %+v, %v: expected ten components that run under process %d", st, err, supervisor.Process.Pid)
	}
	b, err := c.Backups()
	if err != nil || st.S3 != b.Endpoint || st.BackupLocation != "s3://velero/e2e" {
		t.Errorf("status: S3 %s, backups %s; expected those of %+v, %v", st.S3, st.BackupLocation, b, err)
	}
	writesVersions(ctx, t, b)
	refusesOthers(ctx, t, b)
	kube := client(t, c.Kubeconfig())
	create(t, kube, configMaps, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept"},"data":{"a":"b"}}`)
	create(t, kube, claims, `{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"data"},
		"spec":{"storageClassName":"local-csi","accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}`)
	create(t, kube, pods, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"user"},"spec":{
		"containers":[{"name":"c","image":"any","volumeMounts":[{"name":"d","mountPath":"/d"}]}],
		"volumes":[{"name":"d","persistentVolumeClaim":{"claimName":"data"}}]}}`)
	awaitReady(ctx, t, kube, "user")

	if _, err := stack.Up(ctx, stack.Options{Dir: dir, Name: "e2e"}); !errors.Is(err, stack.ErrRunning) {
		t.Errorf("a second supervisor: %v, expected ErrRunning", err)
	}
	if err := stack.Purge(dir); !errors.Is(err, stack.ErrRunning) {
		t.Errorf("deleting a running stack: %v, expected ErrRunning", err)
	}
	first := running(t, dir)
	if len(first) < 10+3 {
		t.Errorf("%d processes, expected the ten components and three CSI sidecars: %v", len(first), first)
	}

	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = supervisor.Wait()
	if st, err := stack.StatusOf(ctx, dir); err != nil || st.Running {
		t.Errorf("status after the supervisor was killed: %+v, %v", st, err)
	}
	s := stacktest.Up(t, stack.Options{Dir: dir, Name: "e2e"})
	t.Logf("started again with its data after %s", s.Took())
	for name, p := range first {
		if process.Alive(p.PID, p.identity()) {
			t.Errorf("%s (process %d) of the killed supervisor still runs", name, p.PID)
		}
	}
	kube = client(t, s.Kubeconfig())
	if got := get(ctx, t, kube, configMaps, "kept"); got == nil {
		t.Error("the data of the first start is gone")
	}
	awaitReady(ctx, t, kube, "user")

	holdsVersions(ctx, t, s.Backups())
	validatesAgain(ctx, t, dir, kube)
	holdsVersions(ctx, t, s.Backups())

	stopAPIServer(ctx, t, dir, kube)
	repairs(ctx, t, dir, kube)
	readsNothingWithoutRole(ctx, t, s)
	auditNames(t, s.AuditLog(), "local-admin", "configmaps")

	second := running(t, dir)
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for name, p := range second {
		if process.Alive(p.PID, p.identity()) {
			t.Errorf("%s (process %d) still runs after the stop", name, p.PID)
		}
	}
	if _, err := stack.Connect(dir); !errors.Is(err, stack.ErrNotRunning) {
		t.Errorf("connect after the stop: %v, expected ErrNotRunning", err)
	}
	if err := stack.Purge(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("state directory after the purge: %v", err)
	}
}

// supervise starts a stack in another process and returns when it is ready.
func supervise(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SUPERVISE="+dir)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("the supervisor says %q, %v", line, err)
	}
	return cmd
}

// stopAPIServer stops the API server from outside and starts it again.
func stopAPIServer(ctx context.Context, t *testing.T, dir string, kube dynamic.Interface) {
	t.Helper()
	c, err := stack.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StopComponent(ctx, stack.APIServer); err != nil {
		t.Fatal(err)
	}
	if _, err := kube.Resource(configMaps).Namespace("default").Get(ctx, "kept", metav1.GetOptions{}); err == nil {
		t.Error("the API server answers after it was stopped")
	}
	if st, err := c.Status(ctx); err != nil || st.Ready {
		t.Errorf("status without an API server: ready %t, %v", st.Ready, err)
	}
	if err := c.StartComponent(ctx, stack.APIServer); err != nil {
		t.Fatal(err)
	}
	if get(ctx, t, kube, configMaps, "kept") == nil {
		t.Error("the API server does not answer after it was started")
	}
	if err := c.StopComponent(ctx, "nothing"); err == nil || !strings.Contains(err.Error(), stack.APIServer) {
		t.Errorf("stop of an unknown component: %v, expected the names there are", err)
	}
}

// repairs takes things away that belong to the stack and has them put back.
func repairs(ctx context.Context, t *testing.T, dir string, kube dynamic.Interface) {
	t.Helper()
	c, err := stack.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.KillComponent(ctx, stack.Kwok); err != nil {
		t.Fatal(err)
	}
	classes := kube.Resource(schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"})
	if err := classes.Delete(ctx, stack.StorageClass, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Repair(ctx); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Status(ctx); err != nil || !st.Ready {
		t.Errorf("status after the repair: ready %t, %v", st.Ready, err)
	}
	if _, err := classes.Get(ctx, stack.StorageClass, metav1.GetOptions{}); err != nil {
		t.Errorf("the storage class was not put back: %v", err)
	}
}

// readsNothingWithoutRole shows that access is controlled.
func readsNothingWithoutRole(ctx context.Context, t *testing.T, s *stack.Stack) {
	t.Helper()
	path, err := s.KubeconfigFor("stranger", "strangers")
	if err != nil {
		t.Fatal(err)
	}
	_, err = client(t, path).Resource(secrets).Namespace("default").List(ctx, metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "stranger") {
		t.Errorf("secrets, to a user without a role: %v, expected forbidden", err)
	}
}

// auditNames looks for a creation by a user in the audit log.
func auditNames(t *testing.T, path, user, resource string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var e struct {
			Verb      string
			User      struct{ Username string }
			ObjectRef struct{ Resource string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("audit log: %q: %v", line, err)
		}
		if e.Verb == "create" && e.User.Username == user && e.ObjectRef.Resource == resource {
			return
		}
	}
	t.Errorf("the audit log does not say that %s created %s", user, resource)
}
