package sample

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fallbackchain.io/fallback/shared/plan"
)

// TestLedgerPlanIsValid: the plan that a deployment writes is one the product accepts, and names the ledger.
func TestLedgerPlanIsValid(t *testing.T) {
	dir := t.TempDir()
	marker := `{"kind":"fallback-local-stack","version":1,"name":"east","nodes":3,"ports":{"versitygw":7070}}`
	if err := os.WriteFile(filepath.Join(dir, "stack.json"), []byte(marker), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &LedgerDeployed{Plan: filepath.Join(dir, LedgerPlanFile), Checksum: "0123456789abcdef0123456789abcdef"}
	if err := writeLedgerPlan(Options{Dir: dir, Kubeconfig: "somewhere/kubeconfig", StackDir: dir}, d); err != nil {
		t.Fatal(err)
	}
	p, err := plan.Load(d.Plan)
	if err != nil {
		t.Fatal(err)
	}
	w := p.Spec.Workload
	if p.Metadata.Name != LedgerName || w.Namespace != LedgerNamespace || w.StatefulSet != LedgerStatefulSet {
		t.Errorf("plan %q of %+v does not name the ledger", p.Metadata.Name, w)
	}
	if db := w.Database; db.Engine != plan.MySQL || db.Port != LedgerPort || db.Name != LedgerDatabase || db.TLS != plan.TLSRequire ||
		db.Credentials.Secret == nil || db.Credentials.Secret.Name != LedgerReaderSecret || db.Heartbeat == nil || db.Canary == nil {
		t.Errorf("database %+v does not name the ledger's", db)
	}
	if i := p.Spec.Inventory; i.Velero == nil || i.Velero.Location != "s3://velero/east" || i.Velero.Endpoint != "http://127.0.0.1:7070" {
		t.Errorf("inventory %+v, want the backups of the stack", i)
	}
	text, err := os.ReadFile(d.Plan)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "{{") || !strings.Contains(string(text), d.Checksum) {
		t.Error("the plan has places that were not filled in")
	}
	if strings.Contains(string(text), "Zürich") {
		t.Error("the plan holds the canary itself")
	}
}

// TestLedgerManifestsAgree: the names in the manifests are those the code uses.
func TestLedgerManifestsAgree(t *testing.T) {
	for _, want := range []string{"name: " + LedgerNamespace, "name: " + LedgerRootSecret, "name: " + LedgerReaderSecret, "name: " + LedgerStatefulSet,
		"replicas: 1", "image: local/mariadb:", "value: " + LedgerDatabase, "{whenDeleted: Retain, whenScaled: Retain}"} {
		if !strings.Contains(string(ledgerYAML), want) {
			t.Errorf("the manifests lack %q", want)
		}
	}
	for _, place := range []string{"{{entries}}", "{{reader}}", "{{password}}", "{{database}}", "{{canary}}"} {
		if !strings.Contains(ledgerSeedSQL, place) {
			t.Errorf("the seed lacks %q", place)
		}
	}
	for _, want := range []string{"name: " + LedgerName, "includedNamespaces: [" + LedgerNamespace + "]"} {
		if !strings.Contains(string(ledgerScheduleYAML), want) {
			t.Errorf("the Schedule lacks %q", want)
		}
	}
}

func TestLedgerNeedsAStack(t *testing.T) {
	if _, err := DeployLedger(context.Background(), Options{Kubeconfig: filepath.Join(t.TempDir(), "none"), Dir: t.TempDir()}); err == nil {
		t.Error("the ledger was deployed without a stack for its backups")
	}
}
