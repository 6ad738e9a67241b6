package nodeagent_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/infra/local/nodeagent"
	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/sample/sampletest"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
)

// shop is the sample on a stack, with what these tests look at.
type shop struct{ *sampletest.Shop }

func (s shop) pod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	p, err := cluster.Get[corev1.Pod](t.Context(), s.Client, cluster.Pods, sample.Namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// restarts tells how often a pod's container was started again.
func restarts(p *corev1.Pod) int32 {
	if len(p.Status.ContainerStatuses) == 0 {
		return 0
	}
	return p.Status.ContainerStatuses[0].RestartCount
}

// restarted waits until a pod is ready again, and was started more often than before: on a busy machine perhaps more than once.
func (s shop) restarted(t *testing.T, what string, before *corev1.Pod) {
	t.Helper()
	s.until(t, what, before.Name, func(p *corev1.Pod) bool { return ready(p) && restarts(p) > restarts(before) })
}

// until waits until a pod is as wanted.
func (s shop) until(t *testing.T, what, name string, as func(*corev1.Pod) bool) {
	t.Helper()
	s.Wait(t, what, func(ctx context.Context) (bool, error) {
		p, err := cluster.Get[corev1.Pod](ctx, s.Client, cluster.Pods, sample.Namespace, name)
		return err == nil && as(p), err
	}, cluster.Source{GVR: cluster.Pods, Namespace: sample.Namespace})
}

// server is the recorded process of a pod's database.
func (s shop) server(t *testing.T, pod string) (pid int, identity string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Dir, "agent", "processes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name     string
		PID      int
		Identity string
	}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Name == sample.Namespace+"/"+pod+"/postgres" && process.Alive(r.PID, r.Identity) {
			return r.PID, r.Identity
		}
	}
	t.Fatalf("no database of pod %s runs: %+v", pod, all)
	return 0, ""
}

func (s shop) annotateNode(t *testing.T, node string, value any) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{nodeagent.PowerAnnotation: value}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client.Dynamic.Resource(cluster.Nodes).Patch(t.Context(), node, types.MergePatchType, b, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestAgentOnAStack plays what happens to pods, on a real control plane with real volumes and databases.
func TestAgentOnAStack(t *testing.T) {
	s := shop{sampletest.Up(t)}
	s.WantOrders(t, sample.Orders, sample.Orders, sample.Orders)

	t.Run("databases do not run as root", func(t *testing.T) {
		pid, _ := s.server(t, "pg-0")
		out, err := exec.Command("ps", "-o", "uid=", "-p", strconv.Itoa(pid)).Output()
		if uid := strings.TrimSpace(string(out)); err != nil || uid == "" || uid == "0" {
			t.Errorf("the database runs as user %q (%v), want one that is not root", uid, err)
		}
	})
	t.Run("a killed server is restarted with its data", func(t *testing.T) {
		before := s.pod(t, "pg-0")
		pid, id := s.server(t, "pg-0")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.restarted(t, "the restarted server", before)
		if process.Alive(pid, id) {
			t.Error("the killed server is alive")
		}
		s.WantOrders(t, sample.Orders, sample.Orders, sample.Orders)
	})
	t.Run("a snapshot under load is one instant", s.snapshotUnderLoad)
	t.Run("a node without power", func(t *testing.T) {
		p := s.pod(t, "pg-1")
		pid, id := s.server(t, "pg-1")
		s.annotateNode(t, p.Spec.NodeName, nodeagent.PowerOff)
		s.until(t, "a pod that is not ready", "pg-1", func(p *corev1.Pod) bool { return !ready(p) })
		if process.Alive(pid, id) {
			t.Error("a database runs on a node without power")
		}
		n, err := cluster.Get[corev1.Node](t.Context(), s.Client, cluster.Nodes, "", p.Spec.NodeName)
		if err != nil || len(n.Status.VolumesInUse) == 0 {
			t.Errorf("volumes in use of the dead node: %v (%v), want what it last said", n.Status.VolumesInUse, err)
		}
		s.annotateNode(t, p.Spec.NodeName, nil)
		s.until(t, "the pod after the power is back", "pg-1", ready)
		s.WantOrders(t, sample.Orders, sample.Orders, sample.Orders)
	})
	t.Run("a volume that is detached under a running server", func(t *testing.T) {
		claim, err := cluster.Get[corev1.PersistentVolumeClaim](t.Context(), s.Client, cluster.PersistentVolumeClaims, sample.Namespace, sample.Claim(2))
		if err != nil {
			t.Fatal(err)
		}
		pid, id := s.server(t, "pg-2")
		vas, err := cluster.List[storagev1.VolumeAttachment](t.Context(), s.Client, cluster.VolumeAttachments, "", metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, va := range vas {
			if *va.Spec.Source.PersistentVolumeName == claim.Spec.VolumeName {
				if err := s.Client.Dynamic.Resource(cluster.VolumeAttachments).Delete(t.Context(), va.Name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.until(t, "a pod that is not ready", "pg-2", func(p *corev1.Pod) bool { return !ready(p) })
		if process.Alive(pid, id) {
			t.Error("a database runs on a volume that is not attached")
		}
		s.until(t, "the pod on the volume attached again", "pg-2", ready)
		s.WantOrders(t, sample.Orders, sample.Orders, sample.Orders)
	})
	t.Run("an agent that is killed", func(t *testing.T) {
		var before []*corev1.Pod
		for i := range sample.Replicas {
			before = append(before, s.pod(t, sample.Pod(i)))
		}
		pid, id := s.server(t, "pg-0")
		if err := s.Stack.KillComponent(stack.NodeAgent); err != nil {
			t.Fatal(err)
		}
		if err := s.Stack.StartComponent(t.Context(), stack.NodeAgent); err != nil {
			t.Fatal(err)
		}
		for _, p := range before {
			s.restarted(t, "the pod under the next agent", p)
		}
		if process.Alive(pid, id) {
			t.Error("the database of the killed agent is alive")
		}
		s.WantOrders(t, sample.Orders, sample.Orders, sample.Orders)
	})
	t.Run("a pod that runs nothing", func(t *testing.T) {
		s.create(t, "v1", "Pod", "idle", map[string]any{"containers": []any{map[string]any{"name": "c", "image": "example/anything:1"}}})
		s.until(t, "the idle pod", "idle", ready)
		if p := s.pod(t, "idle"); len(p.Finalizers) != 0 {
			t.Errorf("finalizers %v on a pod without processes", p.Finalizers)
		}
	})
}

func (s shop) create(t *testing.T, apiVersion, kind, name string, spec map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": sample.Namespace}, "spec": spec}}
	m, err := s.Client.Mapper.RESTMapping(u.GroupVersionKind().GroupKind())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client.Dynamic.Resource(m.Resource).Namespace(sample.Namespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// snapshotUnderLoad writes two tables in one transaction each time while a snapshot is taken; in a server on the restored volume
// both hold the same.
func (s shop) snapshotUnderLoad(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if _, err := sample.Exec(ctx, s.Client, sample.Namespace, "pg-1", "CREATE TABLE a (i int); CREATE TABLE b (i int); GRANT SELECT ON a, b TO shop_reader"); err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			_, err := sample.Exec(ctx, s.Client, sample.Namespace, "pg-1", "DO $$ BEGIN FOR i IN 1..20 LOOP INSERT INTO a VALUES (i); INSERT INTO b VALUES (i); COMMIT; END LOOP; END $$")
			if err == nil {
				if n++; n == 1 {
					close(started)
				}
			}
		}
		done <- n
	}()
	select {
	case <-started:
	case <-time.After(time.Minute):
		t.Fatal("nothing can be written")
	}
	s.create(t, "snapshot.storage.k8s.io/v1", "VolumeSnapshot", "under-load", map[string]any{
		"volumeSnapshotClassName": stack.SnapshotClass, "source": map[string]any{"persistentVolumeClaimName": sample.Claim(1)}})
	s.Wait(t, "the snapshot", func(ctx context.Context) (bool, error) {
		u, err := s.Client.Dynamic.Resource(cluster.VolumeSnapshots).Namespace(sample.Namespace).Get(ctx, "under-load", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		ok, _, _ := unstructured.NestedBool(u.Object, "status", "readyToUse")
		return ok, nil
	}, cluster.Source{GVR: cluster.VolumeSnapshots, Namespace: sample.Namespace})
	stop()
	if n := <-done; n == 0 {
		t.Fatal("nothing was written")
	}
	s.create(t, "v1", "PersistentVolumeClaim", "restored", map[string]any{"accessModes": []any{"ReadWriteOnce"}, "storageClassName": stack.StorageClass,
		"resources":  map[string]any{"requests": map[string]any{"storage": "1Gi"}},
		"dataSource": map[string]any{"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "under-load"}})
	s.create(t, "v1", "Pod", "restored", map[string]any{
		"containers": []any{map[string]any{"name": "postgres", "image": "local/postgres:15", "volumeMounts": []any{map[string]any{"name": "data", "mountPath": "/data"}}}},
		"volumes":    []any{map[string]any{"name": "data", "persistentVolumeClaim": map[string]any{"claimName": "restored"}}}})
	s.until(t, "a server on the restored volume, beside the one it was taken from", "restored", ready)
	log, err := os.ReadFile(filepath.Join(s.Dir, "agent", "logs", "shop_restored_postgres.log"))
	if err != nil || !strings.Contains(string(log), "automatic recovery in progress") {
		t.Errorf("the server did not recover as from a power cut (%v):\n%s", err, log)
	}
	var a, b int
	err = sample.Query(t.Context(), s.Client, sample.Namespace, "restored", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)").Scan(&a, &b)
	})
	if err != nil || a != b || a == 0 {
		t.Errorf("tables hold %d and %d rows (%v), want as many in both", a, b, err)
	}
}
