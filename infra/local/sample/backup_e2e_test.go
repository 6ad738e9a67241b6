package sample_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/sample/sampletest"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/velero"
)

// TestBackups takes backups of the shop on demand and by its Schedule, finds them in the bucket, and has a reset remove them.
func TestBackups(t *testing.T) {
	shop := deployedShop{sampletest.Up(t)}
	deployed := shop.things(t)
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := sample.Beat(t.Context(), shop.Client, sample.Namespace, at); err != nil {
		t.Fatal(err)
	}
	wantAnswers(t, shop.Shop, at)

	first := shop.Backup(t, "first")
	second, err := sample.BackupFromSchedule(t.Context(), shop.Client, "second")
	if err != nil {
		t.Fatal(err)
	}
	system, err := cluster.Get[corev1.Namespace](t.Context(), shop.Client, cluster.Namespaces, "", metav1.NamespaceSystem)
	if err != nil {
		t.Fatal(err)
	}
	for b, schedule := range map[*velero.Backup]string{first: "", second: sample.Schedule} {
		if got := b.Labels[velero.LabelSchedule]; got != schedule {
			t.Errorf("backup %s is labelled with the schedule %q, want %q", b.Name, got, schedule)
		}
		if got := b.Labels[backup.LabelCluster]; got != string(system.UID) {
			t.Errorf("backup %s is labelled with the cluster %q, want %q", b.Name, got, system.UID)
		}
		if n := objects(t, shop.Stack, b.Name); n != 9 {
			t.Errorf("backup %s has %d objects in the bucket, want 9", b.Name, n)
		}
	}
	if _, err := sample.Backup(t.Context(), shop.Client, "first"); err == nil {
		t.Error("a second backup of the same name was taken")
	}

	before := pidOf(t, shop.Stack, stack.Velero)
	shop.reset(t)
	if after := pidOf(t, shop.Stack, stack.Velero); after != before {
		t.Errorf("the reset started Velero again (%d, before %d), for nothing", after, before)
	}
	if got := shop.things(t); !slices.Equal(got, deployed) {
		t.Errorf("after the reset there are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(deployed, "\n"))
	}
	for _, name := range []string{"first", "second"} {
		if n := objects(t, shop.Stack, name); n != 0 {
			t.Errorf("after the reset backup %s has %d objects in the bucket, want none", name, n)
		}
	}

	if err := shop.Stack.KillComponent(stack.Velero); err != nil {
		t.Fatal(err)
	}
	shop.claimFrom(t, sample.Snapshot(0)) // and it is never made: nobody uses it
	shop.reset(t)
	if got := shop.things(t); !slices.Equal(got, deployed) {
		t.Errorf("after the second reset there are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(deployed, "\n"))
	}
	shop.Backup(t, "third")
}

type deployedShop struct{ *sampletest.Shop }

func (s deployedShop) reset(t *testing.T) {
	t.Helper()
	if _, err := sample.Reset(t.Context(), s.Options); err != nil {
		t.Fatal(err)
	}
}

// claimFrom makes a claim from a snapshot.
func (s deployedShop) claimFrom(t *testing.T, snapshot string) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PersistentVolumeClaim",
		"metadata": map[string]any{"name": "copy", "namespace": sample.Namespace},
		"spec": map[string]any{"accessModes": []any{"ReadWriteOnce"}, "storageClassName": stack.StorageClass,
			"resources":  map[string]any{"requests": map[string]any{"storage": "1Gi"}},
			"dataSource": map[string]any{"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot}}}}
	if _, err := s.Client.Dynamic.Resource(cluster.PersistentVolumeClaims).Namespace(sample.Namespace).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// things are the objects of the sample by name, and its rows.
func (s deployedShop) things(t *testing.T) []string {
	t.Helper()
	var out []string
	for namespace, gvrs := range map[string][]schema.GroupVersionResource{
		sample.Namespace:      {cluster.StatefulSets, cluster.Pods, cluster.Services, cluster.ConfigMaps, cluster.Secrets, cluster.PersistentVolumeClaims, cluster.VolumeSnapshots},
		stack.VeleroNamespace: {velero.Backups, velero.Restores, velero.Schedules},
	} {
		for _, gvr := range gvrs {
			l, err := s.Client.Dynamic.Resource(gvr).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range l.Items {
				out = append(out, gvr.Resource+" "+u.GetName())
			}
		}
	}
	rows, err := sample.Counts(t.Context(), s.Options.Kubeconfig, sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for pod, n := range rows {
		out = append(out, fmt.Sprintf("%d rows of %s", n, pod))
	}
	slices.Sort(out)
	return out
}

func pidOf(t *testing.T, s *stack.Stack, component string) int {
	t.Helper()
	for _, c := range s.Status().Components {
		if c.Name == component {
			return c.PID
		}
	}
	t.Fatalf("there is no %s", component)
	return 0
}

// wantAnswers asks a server what the plan asks it about heartbeat and canary.
func wantAnswers(t *testing.T, shop *sampletest.Shop, at time.Time) {
	t.Helper()
	p, err := plan.Load(shop.VeleroPlan)
	if err != nil {
		t.Fatal(err)
	}
	db := p.Spec.Workload.Database
	err = sample.Query(t.Context(), shop.Client, sample.Namespace, sample.Pod(2), func(ctx context.Context, c *pgx.Conn) error {
		var newest time.Time
		var canary string
		if err := c.QueryRow(ctx, db.Heartbeat.SQL).Scan(&newest); err != nil {
			return err
		}
		if err := c.QueryRow(ctx, db.Canary.SQL).Scan(&canary); err != nil {
			return err
		}
		if !newest.Equal(at) {
			t.Errorf("newest heartbeat %s, want %s", newest, at)
		}
		if sum := sha256.Sum256([]byte(canary)); hex.EncodeToString(sum[:]) != db.Canary.SHA256 {
			t.Errorf("the canary %q is not what the plan expects", canary)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// objects counts the objects of a backup.
func objects(t *testing.T, s *stack.Stack, backup string) int {
	t.Helper()
	b := s.Backups()
	c, err := b.S3(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	prefix := b.Prefix + "/backups/" + backup + "/"
	l, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &b.Bucket, Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	return len(l.Contents)
}
