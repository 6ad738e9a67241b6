package sample_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/database"
	"fallbackchain.io/fallback/shared/database/mytest/mariadb"
	"fallbackchain.io/fallback/shared/plan"
)

// ledger is the sample ledger on a stack of the test's own.
type ledger struct {
	dir     string
	options sample.Options
	client  *cluster.Client
	plan    *plan.Plan
}

// TestLedger plays what happens to a MariaDB server on real volumes: it is deployed, deleted, killed, copied and backed up.
func TestLedger(t *testing.T) {
	s := stacktest.Up(t, stack.Options{})
	dir := s.Layout().Dir
	l := &ledger{dir: dir, options: sample.Options{Kubeconfig: s.Kubeconfig(), StackDir: dir, Dir: filepath.Join(dir, "ledger")}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the server's log:\n%s", process.Tail(l.log("ledger_mariadb-0_mariadb"), 4000))
			t.Logf("end of the agent's log:\n%s", process.Tail(s.Layout().Log(stack.NodeAgent), 4000))
		}
	})
	d, err := sample.DeployLedger(t.Context(), l.options)
	if err != nil {
		t.Fatal(err)
	}
	if l.plan, err = plan.Load(d.Plan); err != nil {
		t.Fatal(err)
	}
	if l.client, err = cluster.FromKubeconfig(l.options.Kubeconfig, ""); err != nil {
		t.Fatal(err)
	}
	beat := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
	if _, err := sample.ExecLedger(t.Context(), l.client, sample.LedgerNamespace, sample.LedgerPod(0), "DELETE FROM heartbeat"); err != nil {
		t.Fatal(err)
	}
	if err := sample.BeatLedger(t.Context(), l.client, sample.LedgerNamespace, beat); err != nil {
		t.Fatal(err)
	}

	t.Run("the plan's questions are answered", func(t *testing.T) { l.wantAnswers(t, sample.LedgerPod(0), beat) })
	t.Run("a second deployment changes nothing", func(t *testing.T) {
		again, err := sample.DeployLedger(t.Context(), l.options)
		if err != nil || again.Checksum != d.Checksum {
			t.Errorf("%+v (%v), want the checksum %s", again, err, d.Checksum)
		}
		l.wantEntries(t, sample.LedgerEntries)
	})
	t.Run("a deleted pod is back with its rows", l.deletedPod)
	t.Run("a killed server is restarted with its rows", l.killedServer)
	t.Run("a snapshot under load is one instant", l.snapshotUnderLoad)
	t.Run("a backup, and a reset that removes it", func(t *testing.T) {
		if _, err := sample.BackupLedger(t.Context(), l.client, "ledger-one"); err != nil {
			t.Fatal(err)
		}
		if _, err := sample.ExecLedger(t.Context(), l.client, sample.LedgerNamespace, sample.LedgerPod(0), "DELETE FROM entries WHERE id > 10"); err != nil {
			t.Fatal(err)
		}
		if _, err := sample.ResetLedger(t.Context(), l.options); err != nil {
			t.Fatal(err)
		}
		l.wantEntries(t, sample.LedgerEntries)
		if n := objects(t, s, "ledger-one"); n != 0 {
			t.Errorf("after the reset the backup has %d objects in the bucket, want none", n)
		}
	})
}

// wantAnswers asks a server all that the plan asks, as the gate does.
func (l *ledger) wantAnswers(t *testing.T, pod string, beat time.Time) {
	t.Helper()
	p, err := l.pod(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	db := l.plan.Spec.Workload.Database
	ref := db.Credentials.Secret
	secret, err := cluster.Get[corev1.Secret](t.Context(), l.client, cluster.Secrets, sample.LedgerNamespace, ref.Name)
	if err != nil {
		t.Fatal(err)
	}
	session, err := database.Open(t.Context(), database.Target{Engine: db.Engine, Database: db.Name, TLS: db.TLS, StatementTimeout: 5 * time.Second,
		Credentials: database.Credentials{Username: string(secret.Data[ref.UsernameKey]), Password: string(secret.Data[ref.PasswordKey])},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return l.client.DialPod(t.Context(), p.Namespace, p.Name, p.UID, db.Port)
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	t.Logf("the server of pod %s is %s", pod, session.Server)
	if !strings.HasPrefix(session.Server, "MariaDB ") || session.Replica {
		t.Errorf("server %q, replica %t: want a MariaDB that follows none", session.Server, session.Replica)
	}
	results, err := session.Run(t.Context(), database.Questions{Queries: db.Queries, Heartbeat: db.Heartbeat, Canary: db.Canary, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if want := len(db.Queries) + 2; len(results) != want {
		t.Errorf("%d answers, want %d", len(results), want)
	}
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s: got %s, expected %s", r.Name, r.Got, r.Expected)
		}
		if r.Kind == database.HeartbeatKind && (r.At == nil || !r.At.Equal(beat)) {
			t.Errorf("the newest heartbeat is %v, want %s", r.At, beat)
		}
	}
}

func (l *ledger) deletedPod(t *testing.T) {
	old, err := l.pod(t.Context(), sample.LedgerPod(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.client.Dynamic.Resource(cluster.Pods).Namespace(old.Namespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.until(t, "the next pod", old.Name, func(p *corev1.Pod) bool { return p.UID != old.UID && podReady(p) })
	text, err := os.ReadFile(l.log("ledger_mariadb-0_mariadb"))
	if err != nil || !strings.Contains(string(text), mariadb.StoppedLine) {
		t.Errorf("the deleted pod's server did not shut down cleanly (%v):\n%s", err, text)
	}
	l.wantEntries(t, sample.LedgerEntries)
}

func restarts(p *corev1.Pod) int32 {
	if len(p.Status.ContainerStatuses) != 1 {
		return -1
	}
	return p.Status.ContainerStatuses[0].RestartCount
}

func (l *ledger) killedServer(t *testing.T) {
	p, err := l.pod(t.Context(), sample.LedgerPod(0))
	if err != nil {
		t.Fatal(err)
	}
	// Another process may have taken the port of a first attempt, or the volume was attached twice.
	before := restarts(p)
	if before != 0 {
		t.Logf("the server was started %d times again before this:\n%s", before, process.Tail(stack.Layout{Dir: l.dir}.Log(stack.NodeAgent), 4000))
	}
	text, err := os.ReadFile(filepath.Join(l.dir, "agent", "processes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name, Identity string
		PID            int
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	killed := false
	for _, r := range all {
		if r.Name == "ledger/mariadb-0/mariadb" && process.Alive(r.PID, r.Identity) {
			if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			killed = true
		}
	}
	if !killed {
		t.Fatalf("no server of the ledger runs: %+v", all)
	}
	l.until(t, "the restarted server", sample.LedgerPod(0), func(p *corev1.Pod) bool { return podReady(p) && restarts(p) > before })
	l.wantEntries(t, sample.LedgerEntries)
}

// snapshotUnderLoad writes two tables in one transaction each time while a snapshot is taken; in a server on the restored volume, beside
// the one it was taken from, both hold the same.
func (l *ledger) snapshotUnderLoad(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	exec := func(ctx context.Context, statements string) error {
		_, err := sample.ExecLedger(ctx, l.client, sample.LedgerNamespace, sample.LedgerPod(0), statements)
		return err
	}
	if err := exec(ctx, "CREATE TABLE a (i INT) ENGINE=InnoDB; CREATE TABLE b (i INT) ENGINE=InnoDB"); err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- sample.QueryLedger(ctx, l.client, sample.LedgerNamespace, sample.LedgerPod(0), func(ctx context.Context, c *sql.Conn) error {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := c.ExecContext(ctx, "START TRANSACTION; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); COMMIT"); err != nil {
					return err
				}
				if n == 0 {
					close(started)
				}
			}
			return nil
		})
	}()
	select {
	case <-started:
	case err := <-done:
		t.Fatalf("nothing was written: %v", err)
	}
	l.create(t, "snapshot.storage.k8s.io/v1", "VolumeSnapshot", "under-load", map[string]any{
		"volumeSnapshotClassName": stack.SnapshotClass, "source": map[string]any{"persistentVolumeClaimName": sample.LedgerClaim(0)}})
	l.wait(t, "the snapshot", cluster.Source{GVR: cluster.VolumeSnapshots, Namespace: sample.LedgerNamespace}, func(ctx context.Context) (bool, error) {
		u, err := l.client.Dynamic.Resource(cluster.VolumeSnapshots).Namespace(sample.LedgerNamespace).Get(ctx, "under-load", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		ok, _, _ := unstructured.NestedBool(u.Object, "status", "readyToUse")
		return ok, nil
	})
	stop()
	<-done
	l.create(t, "v1", "PersistentVolumeClaim", "restored", map[string]any{"accessModes": []any{"ReadWriteOnce"}, "storageClassName": stack.StorageClass,
		"resources":  map[string]any{"requests": map[string]any{"storage": "1Gi"}},
		"dataSource": map[string]any{"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "under-load"}})
	l.create(t, "v1", "Pod", "restored", map[string]any{
		"containers": []any{map[string]any{"name": "mariadb", "image": "local/mariadb", "volumeMounts": []any{map[string]any{"name": "data", "mountPath": "/data"}}}},
		"volumes":    []any{map[string]any{"name": "data", "persistentVolumeClaim": map[string]any{"claimName": "restored"}}}})
	l.until(t, "a server on the restored volume", "restored", podReady)
	text, err := os.ReadFile(l.log("ledger_restored_mariadb"))
	if err != nil || !strings.Contains(string(text), mariadb.RecoveryLine) {
		t.Errorf("the server did not recover as from a power cut (%v):\n%s", err, text)
	}
	var a, b, entries int
	err = sample.QueryLedger(t.Context(), l.client, sample.LedgerNamespace, "restored", func(ctx context.Context, c *sql.Conn) error {
		return c.QueryRowContext(ctx, "SELECT (SELECT COUNT(*) FROM a), (SELECT COUNT(*) FROM b), (SELECT COUNT(*) FROM entries)").Scan(&a, &b, &entries)
	})
	if err != nil || a != b || a == 0 || entries != sample.LedgerEntries {
		t.Errorf("tables hold %d and %d rows, and %d entries (%v), want as many in both, and %d", a, b, entries, err, sample.LedgerEntries)
	}
	if err := l.client.Dynamic.Resource(cluster.Pods).Namespace(sample.LedgerNamespace).Delete(t.Context(), "restored", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}
