package sample

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/plan"
)

// TestPlanIsValid: the plan that a deployment writes is one the product accepts.
func TestPlanIsValid(t *testing.T) {
	dir := t.TempDir()
	d := &Deployed{Plan: filepath.Join(dir, PlanFile), Checksum: "0123456789abcdef0123456789abcdef"}
	if err := writePlan(Options{Dir: dir, Kubeconfig: "somewhere/kubeconfig"}, d); err != nil {
		t.Fatal(err)
	}
	p, err := plan.Load(d.Plan)
	if err != nil {
		t.Fatal(err)
	}
	if w := p.Spec.Workload; w.Namespace != Namespace || w.StatefulSet != StatefulSet || w.Database.Port != Port || w.Database.Name != Database {
		t.Errorf("workload %+v does not name the sample", w)
	}
	if k := p.Spec.Cluster.Kubeconfig; k == nil || !filepath.IsAbs(k.Path) {
		t.Errorf("kubeconfig %+v, want an absolute path", k)
	}
	if s := p.Spec.Rollback.Snapshots; s.Source != plan.SnapshotsExisting || s.Selector[SnapshotLabel] != SnapshotValue {
		t.Errorf("rollback snapshots %+v, want the ones that a deployment takes", s)
	}
	text, err := os.ReadFile(d.Plan)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "{{") {
		t.Error("the plan has places that were not filled in")
	}
	if !strings.Contains(string(text), d.Checksum) {
		t.Error("the plan does not hold the checksum")
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
	for _, place := range []string{"{{customers}}", "{{orders}}", "{{reader}}", "{{password}}", "{{database}}"} {
		if !strings.Contains(seedSQL, place) {
			t.Errorf("the seed lacks %q", place)
		}
	}
}

func TestDeployWithoutACluster(t *testing.T) {
	if _, err := Deploy(context.Background(), Options{Kubeconfig: filepath.Join(t.TempDir(), "none"), Dir: t.TempDir()}); err == nil {
		t.Error("a deployment without a kubeconfig succeeded")
	}
}
