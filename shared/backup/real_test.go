package backup_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/signal"
)

// taken is when the backup in testdata was: one that Velero 1.18.3 took of the local stack's sample, with CSI snapshots.
func taken() time.Time { return time.Date(2026, 11, 21, 5, 34, 8, 0, time.UTC) }

func realBackup(t *testing.T) (*backuptest.Store, backup.Expectation) {
	t.Helper()
	s, err := backuptest.Load(os.DirFS("testdata/velero-1.18.3"), taken())
	if err != nil {
		t.Fatal(err)
	}
	return s, backup.Expectation{Namespace: "shop", StatefulSet: "pg", ClusterUID: backuptest.Cluster, KubernetesVersion: "v1.36.3", MaxAge: time.Hour, Now: taken().Add(10 * time.Minute)}
}

func TestVerifyRealBackup(t *testing.T) {
	s, exp := realBackup(t)
	v, err := backup.Verify(t.Context(), s, "b1", exp)
	if err != nil || v.Status != signal.True || v.Objects != v.Items {
		t.Fatalf("%+v %v", v, err)
	}
	golden(t, "velero-1.18.3", v)
}

// TestRealBackupMutations breaks each object of the real backup, sealed, in each way.
func TestRealBackupMutations(t *testing.T) {
	store, _ := realBackup(t)
	for name, do := range map[string]func(s *backuptest.Store, key string){
		"missing": (*backuptest.Store).Delete, "truncated": (*backuptest.Store).Truncate, "extended": (*backuptest.Store).Extend,
		"flipped": func(s *backuptest.Store, k string) { s.Flip(k, len(s.Get(k))/3) },
	} {
		for _, key := range store.Keys() {
			t.Run(name+"/"+key, func(t *testing.T) {
				s, exp := realBackup(t)
				key1 := signer(t)
				if _, err := backup.Seal(t.Context(), s, "b1", backuptest.Cluster, exp, key1); err != nil {
					t.Fatal(err)
				}
				exp.Key = key1
				do(s, key)
				v, err := backup.Verify(t.Context(), s, "b1", exp)
				if f, ok := stopOn(v, key); err != nil || !ok || f.Means == "" || v.Status != signal.False {
					t.Errorf("%s %v %+v", v.Status, err, v.Findings)
				}
			})
		}
	}
}

func names(b *inventory.Bundle, t *testing.T) []string {
	t.Helper()
	objects, findings := b.Objects(t.Context())
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	var out []string
	for _, o := range objects {
		out = append(out, strings.TrimPrefix(o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName(), " "))
	}
	slices.Sort(out)
	return out
}

func TestRealBackupAsInventory(t *testing.T) {
	s, exp := realBackup(t)
	v, err := backup.Verify(t.Context(), s, "b1", exp)
	if err != nil {
		t.Fatal(err)
	}
	c, err := backup.Read(t.Context(), s, "b1", v.Listing, "shop")
	if err != nil {
		t.Fatal(err)
	}
	b, findings := c.Bundle("shop", "pg")
	if b == nil || len(findings) > 0 {
		t.Fatal(findings)
	}
	want := []string{"ConfigMap shop/shop-settings", "ConfigMap shop/shop-storefront", "Namespace /shop",
		"PersistentVolumeClaim shop/data-pg-0", "PersistentVolumeClaim shop/data-pg-1", "PersistentVolumeClaim shop/data-pg-2",
		// and not the PortForwards of its pods, which own them
		"Secret shop/pg-app", "Secret shop/pg-reader", "Service shop/pg", "Service shop/shop-db", "StatefulSet shop/pg"}
	if d := cmp.Diff(want, names(b, t)); d != "" {
		t.Error(d)
	}
	if s, ok := b.SnapshotFor("data-pg-1"); !ok || s.Handle != "snap-2c18681ea70459705" || s.Driver != "local.csi.fallbackchain.io" || s.Size != "1Gi" || !s.TakenAt.Equal(taken().Add(time.Second)) {
		t.Errorf("%+v", s)
	}
	r := b.Verify(t.Context(), exp.Now, inventory.Target{ClusterUID: backuptest.Cluster, KubernetesVersion: "v1.36.3", Namespace: "shop", StatefulSet: "pg"}, time.Hour)
	if r.Status != signal.Unknown || r.Reason != inventory.ReasonSourceUnknown { // it was taken without the label, and has no manifest
		t.Errorf("%+v", r)
	}
}
