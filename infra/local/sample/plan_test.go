package sample

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/plan"
)

// TestPlansAreValid: the plans that a deployment writes are ones the product accepts.
func TestPlansAreValid(t *testing.T) {
	dir := t.TempDir()
	marker := `{"kind":"fallback-local-stack","version":1,"name":"east","nodes":3,"ports":{"versitygw":7070}}`
	if err := os.WriteFile(filepath.Join(dir, "stack.json"), []byte(marker), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &Deployed{Plan: filepath.Join(dir, PlanFile), Checksum: "0123456789abcdef0123456789abcdef"}
	if err := writePlans(Options{Dir: dir, Kubeconfig: "somewhere/kubeconfig", StackDir: dir}, d); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, name string
		inventory  func(*plan.Inventory) bool
	}{
		{d.Plan, "shop", func(i *plan.Inventory) bool { return i.Manifests != nil }},
		{d.VeleroPlan, "shop-velero", func(i *plan.Inventory) bool {
			return i.Velero != nil && i.Velero.Location == "s3://velero/east" && i.Velero.Endpoint == "http://127.0.0.1:7070" &&
				filepath.IsAbs(i.Velero.CredentialsFile) && filepath.IsAbs(i.Velero.Integrity.Key)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := plan.Load(c.file)
			if err != nil {
				t.Fatal(err)
			}
			if p.Metadata.Name != c.name || !c.inventory(p.Spec.Inventory) {
				t.Errorf("plan %q with the inventory %+v", p.Metadata.Name, p.Spec.Inventory)
			}
			if w := p.Spec.Workload; w.Namespace != Namespace || w.StatefulSet != StatefulSet || w.Database.Port != Port || w.Database.Name != Database {
				t.Errorf("workload %+v does not name the sample", w)
			}
			if db := p.Spec.Workload.Database; db.Heartbeat == nil || db.Canary == nil {
				t.Errorf("heartbeat %v, canary %v: want both", db.Heartbeat, db.Canary)
			}
			if k := p.Spec.Cluster.Kubeconfig; k == nil || !filepath.IsAbs(k.Path) {
				t.Errorf("kubeconfig %+v, want an absolute path", k)
			}
			if s := p.Spec.Rollback.Snapshots; s.Source != plan.SnapshotsExisting || s.Selector[SnapshotLabel] != SnapshotValue {
				t.Errorf("rollback snapshots %+v, want the ones that a deployment takes", s)
			}
			text, err := os.ReadFile(c.file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "{{") {
				t.Error("the plan has places that were not filled in")
			}
			if !strings.Contains(string(text), d.Checksum) {
				t.Error("the plan does not hold the checksum")
			}
			if strings.Contains(string(text), "Zürich") {
				t.Error("the plan holds the canary itself")
			}
		})
	}
}

// TestWithoutAStack: there is no plan for backups that nobody takes.
func TestWithoutAStack(t *testing.T) {
	dir := t.TempDir()
	d := &Deployed{Plan: filepath.Join(dir, PlanFile)}
	if err := writePlans(Options{Dir: dir, Kubeconfig: "somewhere/kubeconfig"}, d); err != nil || d.VeleroPlan != "" {
		t.Errorf("plan of the backups %q, %v; expected none", d.VeleroPlan, err)
	}
}

// TestManifestsAgree: the names in the manifests are those the code uses.
func TestManifestsAgree(t *testing.T) {
	for _, want := range []string{"name: " + Namespace, "name: " + AppSecret, "name: " + ReaderSecret, "replicas: 3", "storageClassName: local-csi",
		"image: local/postgres:15", "podManagementPolicy: Parallel", "{whenDeleted: Retain, whenScaled: Retain}"} {
		if !strings.Contains(string(shopYAML), want) {
			t.Errorf("the manifests lack %q", want)
		}
	}
	for _, place := range []string{"{{customers}}", "{{orders}}", "{{reader}}", "{{password}}", "{{database}}", "{{canary}}"} {
		if !strings.Contains(seedSQL, place) {
			t.Errorf("the seed lacks %q", place)
		}
	}
}

// TestSchedulesNameTheCluster: Velero gives a Schedule's backups the labels of its template.
func TestSchedulesNameTheCluster(t *testing.T) {
	for name, text := range map[string][]byte{Schedule: scheduleYAML, LedgerName: ledgerScheduleYAML} {
		s := &unstructured.Unstructured{}
		if err := utilyaml.Unmarshal(text, &s.Object); err != nil {
			t.Fatal(err)
		}
		labels, _, err := unstructured.NestedStringMap(s.Object, "spec", "template", "metadata", "labels")
		if s.GetName() != name || labels[backup.LabelCluster] != "{{cluster}}" || labels[AppLabel] != s.GetLabels()[AppLabel] || err != nil {
			t.Errorf("Schedule %s: labels %v (%v)", s.GetName(), labels, err)
		}
	}
}

func TestDeployWithoutACluster(t *testing.T) {
	if _, err := Deploy(context.Background(), Options{Kubeconfig: filepath.Join(t.TempDir(), "none"), Dir: t.TempDir()}); err == nil {
		t.Error("a deployment without a kubeconfig succeeded")
	}
}
