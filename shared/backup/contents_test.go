package backup_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

func more() map[string][]string {
	return map[string][]string{
		"widgets.example.com": {`{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w","namespace":"shop"}}`},
		"customresourcedefinitions.apiextensions.k8s.io": {`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","names":{"kind":"Widget"}}}`,
			`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gears.example.com"}}`},
		"csidrivers.storage.k8s.io":                     {`{"apiVersion":"storage.k8s.io/v1","kind":"CSIDriver","metadata":{"name":"csi.example.com"}}`},
		"volumesnapshotclasses.snapshot.storage.k8s.io": {`{"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshotClass","metadata":{"name":"csi"},"driver":"csi.example.com"}`, `{"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshotClass","metadata":{"name":"other"},"driver":"other.example.com"}`},
		"volumesnapshots.snapshot.storage.k8s.io":       {`{"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"velero-x","namespace":"shop"}}`},
		"secrets":                           {`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"elsewhere","namespace":"bank"}}`},
		"namespaces":                        {`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bank"}}`, fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":%q}}`, backuptest.Cluster)},
		"networkpolicies.networking.k8s.io": {`{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"deny","namespace":"shop","labels":{"app.kubernetes.io/managed-by":"fallback-chain"}}}`},
		"persistentvolumes":                 {`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"others"},"spec":{"claimRef":{"namespace":"bank","name":"data"}}}`},
	}
}

func TestReadAndBundle(t *testing.T) {
	s := backuptest.NewStore(backuptest.Spec{More: more(), ClusterUID: "-", ConfigMaps: 1})
	v, err := backup.Verify(t.Context(), s, "b1", expectation())
	if err != nil || v.Status != signal.True || v.ClusterUID != backuptest.Cluster {
		t.Fatalf("%+v %v", v, err)
	}
	c, err := backup.Read(t.Context(), s, "b1", v.Listing, "shop")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, o := range c.Objects {
		have = append(have, strings.TrimPrefix(o.GetNamespace()+"/"+o.GetKind()+"/"+o.GetName(), "shop/"))
	}
	for _, absent := range []string{"gears.example.com", "elsewhere", "/Namespace/bank", "kube-system", "/PersistentVolume/others", "StorageClass/unused", "VolumeSnapshotClass/other"} {
		if strings.Contains(strings.Join(have, "\n"), absent) {
			t.Errorf("%s was read", absent)
		}
	}
	for _, present := range []string{"Pod/db-0", "ReplicaSet/web-1", "Event/db.1", "VolumeSnapshot/velero-x", "/PersistentVolume/pvc-db-0", "/StorageClass/fast", "/CSIDriver/csi.example.com", "/CustomResourceDefinition/widgets.example.com"} {
		if !strings.Contains("\n"+strings.Join(have, "\n")+"\n", "\n"+present+"\n") {
			t.Errorf("%s was not read: %v", present, have)
		}
	}
	b, findings := c.Bundle("shop", "db")
	if b == nil || len(findings) > 0 {
		t.Fatal(findings)
	}
	want := []string{"CSIDriver /csi.example.com", "ConfigMap shop/settings-00000", "CustomResourceDefinition /widgets.example.com", "Namespace /shop", "PersistentVolumeClaim shop/data-db-0",
		"PersistentVolumeClaim shop/data-db-1", "Secret shop/credentials", "Service shop/db", "StatefulSet shop/db", "StorageClass /fast", "VolumeSnapshotClass /csi", "Widget shop/w"}
	if d := cmp.Diff(want, names(b, t)); d != "" {
		t.Error(d)
	}
	if b.Digest != v.Listing || b.KubernetesVersion != "v1.36.3" || b.ClusterUID != backuptest.Cluster || len(b.Snapshots) != 2 {
		t.Errorf("%+v", b.Manifest)
	}
	objects, _ := b.Objects(t.Context())
	for _, o := range objects {
		if o.GetUID() != "" || o.GetResourceVersion() != "" || o.Object["status"] != nil {
			t.Errorf("%s is not stripped: %v", o.GetName(), o.Object)
		}
		o.SetName("changed")
	}
	if d := cmp.Diff(want, names(b, t)); d != "" {
		t.Errorf("the bundle gave its own objects away: %s", d)
	}
	target := inventory.Target{ClusterUID: backuptest.Cluster, KubernetesVersion: "v1.36.3", Namespace: "shop", StatefulSet: "db"}
	if r := b.Verify(t.Context(), backuptest.Now(), target, 2*time.Hour); r.Status != signal.True {
		t.Errorf("%+v", r)
	}
	target.ClusterUID = "other"
	if r := b.Verify(t.Context(), backuptest.Now(), target, 30*time.Minute); r.Status != signal.False || len(r.Findings) != 2 {
		t.Errorf("%+v", r)
	}
}

func TestBundleOfMovedData(t *testing.T) {
	s := backuptest.NewStore(backuptest.Spec{Moved: true})
	objects, err := s.List(t.Context(), "backups/b1/")
	if err != nil {
		t.Fatal(err)
	}
	c, err := backup.Read(t.Context(), s, "b1", backup.Listing("b1", objects), "shop")
	if err != nil {
		t.Fatal(err)
	}
	b, findings := c.Bundle("shop", "db")
	if b == nil || len(b.Snapshots) != 0 || len(findings) != 2 || findings[0].Severity != run.Note || !strings.Contains(findings[0].Problem, "CSISnapshotWithDataMovement") {
		t.Errorf("%+v", findings)
	}
	if b, findings := c.Bundle("shop", "web"); b != nil || len(findings) == 0 || findings[0].Severity != run.Stop {
		t.Errorf("%+v", findings)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spec backuptest.Spec
		do   func(*backuptest.Store)
		want error
		text string
	}{
		"another backup of the same name": {do: func(s *backuptest.Store) { s.Add(backuptest.Spec{ConfigMaps: 1}) }, want: backup.ErrOther},
		"an object more":                  {do: func(s *backuptest.Store) { s.Set("backups/b1/x", nil) }, want: backup.ErrOther},
		"one object less":                 {do: func(s *backuptest.Store) { s.Delete(backuptest.Key("b1", "-logs.gz")) }, want: backup.ErrOther},
		"too much":                        {spec: backuptest.Spec{ConfigMaps: 20, Bytes: 1 << 15}, want: backup.ErrTooLarge},
		"broken":                          {do: func(s *backuptest.Store) { s.Fault(backuptest.Key("b1", tarball), backuptest.Short) }, text: "another number of bytes"},
		"gone":                            {do: func(s *backuptest.Store) { s.Fault(backuptest.Key("b1", volumeinfo), backuptest.Gone) }, text: "is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			s := backuptest.NewStore(c.spec)
			objects, err := s.List(t.Context(), "backups/b1/")
			if err != nil {
				t.Fatal(err)
			}
			listing := backup.Listing("b1", objects)
			if c.do != nil {
				c.do(s)
			}
			_, err = backup.ReadWithin(t.Context(), s, "b1", listing, "shop", 1<<19)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, expected %v %s", err, c.want, c.text)
			}
		})
	}
	t.Run("a manifest makes it no other backup", func(t *testing.T) {
		s := backuptest.NewStore(backuptest.Spec{})
		v, err := backup.Verify(t.Context(), s, "b1", expectation())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Seal(t.Context(), s, "b1", "", expectation(), signer(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Read(t.Context(), s, "b1", v.Listing, "shop"); err != nil {
			t.Error(err)
		}
	})
}
