package backupkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/plan"
)

func withKey(key string) *plan.Plan {
	return &plan.Plan{Spec: plan.Spec{Inventory: &plan.Inventory{Velero: &plan.Velero{Integrity: plan.Integrity{Key: key}}}}}
}

func TestOpen(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	for name, tc := range map[string]struct {
		plan   *plan.Plan
		id     string
		signs  bool
		opened bool
	}{
		"no Velero":   {plan: &plan.Plan{}},
		"no key":      {plan: withKey("")},
		"a PEM file":  {withKey(file), "", true, true},
		"a KMS key":   {withKey(arn), arn, true, true},
		"no such PEM": {plan: withKey(file + "x")},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := Open(t.Context(), tc.plan)
			if (err != nil) != (name == "no such PEM") {
				t.Fatal(err)
			}
			if (v != nil) != tc.opened {
				t.Fatalf("%v", v)
			}
			if !tc.opened {
				return
			}
			if _, signs := v.(backup.Signer); signs != tc.signs || (tc.id != "" && v.KeyID() != tc.id) {
				t.Errorf("%T %s", v, v.KeyID())
			}
		})
	}
}
