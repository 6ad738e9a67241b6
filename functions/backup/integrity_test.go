package backup

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/steptest"
)

// TestIntegrity: what the plan says about signed manifests, against what there is.
func TestIntegrity(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := backup.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	const flipped = "-logs.gz"
	for _, tc := range []struct {
		name         string
		policy       plan.ManifestPolicy
		sealed, flip bool
		keyErr       error
		phase        run.Phase
		reason       string
		integrity    signal.Status
	}{
		{"required and there", plan.ManifestRequired, true, false, nil, run.Verified, "Verified", signal.True},
		{"required and not there", plan.ManifestRequired, false, false, nil, run.Failed, "ManifestMissing", signal.Unknown},
		{"required, one byte flipped", plan.ManifestRequired, true, true, nil, run.Failed, "", signal.False},
		{"required, and the key cannot be read", plan.ManifestRequired, true, false, errors.New("denied"), run.Failed, ReasonKeyUnreadable, ""},
		{"optional and there", plan.ManifestOptional, true, false, nil, run.Verified, "Verified", signal.True},
		{"optional and not there", plan.ManifestOptional, false, false, nil, run.Verified, "Verified", signal.Unknown},
		{"optional, one byte flipped", plan.ManifestOptional, true, true, nil, run.Failed, "", signal.False},
		{"optional, and the key cannot be read", plan.ManifestOptional, true, false, errors.New("denied"), run.Verified, "Verified", signal.Unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, store := velero(), backuptest.NewStore(taken("new", time.Hour))
			p.Spec.Inventory.Velero.Integrity = plan.Integrity{Key: "key.pem", Manifest: tc.policy}
			if tc.sealed {
				if _, err := backup.Seal(t.Context(), store, "new", steptest.ClusterUID, backup.Expectation{Now: steptest.Start}, key); err != nil {
					t.Fatal(err)
				}
			}
			if tc.flip {
				store.Flip(backuptest.Key("new", flipped), -9)
			}
			w := world(t, run.Drill, p, store)
			w.Env.BackupKey = func(context.Context, *plan.Plan) (backup.Verifier, error) { return key, tc.keyErr }
			b, err := choose(w)
			if err != nil || b.Phase != tc.phase || b.Integrity != string(tc.integrity) || (tc.reason != "" && b.Reason != tc.reason) {
				t.Errorf("%v %+v", err, b)
			}
			if tc.flip && !found(b.Findings, run.Stop, flipped) {
				t.Errorf("%+v", b.Findings)
			}
			if tc.keyErr != nil && !found(b.Findings, run.Warning, "key key.pem") {
				t.Errorf("%+v", b.Findings)
			}
		})
	}
}

func TestABackupOfAnotherCluster(t *testing.T) {
	spec := taken("new", time.Hour)
	spec.ClusterUID = "22222222-2222-2222-2222-222222222222"
	if b, err := choose(world(t, run.Drill, velero(), backuptest.NewStore(spec))); err != nil || b.Phase != run.Failed || b.Reason != "OtherCluster" {
		t.Errorf("%v %+v", err, b)
	}
}
