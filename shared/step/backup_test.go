package step_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/steptest"
)

const otherCluster = "22222222-2222-2222-2222-222222222222"

func signer(t *testing.T) backup.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := backup.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestABackupsCluster: only a backup that says which cluster it is of, itself or by its signed manifest, is believed to be the target's.
func TestABackupsCluster(t *testing.T) {
	for name, tc := range map[string]struct {
		label, sealed string
		// trusted: the run can verify the manifest. aside: the target did not say who it is when the backup was chosen.
		trusted, aside bool
		want           signal.Status
		reason         string
	}{
		"by its label":                           {label: steptest.ClusterUID, want: signal.True, reason: inventory.ReasonVerified},
		"another's by its label":                 {label: otherCluster, aside: true, want: signal.False, reason: inventory.ReasonOtherCluster},
		"by its manifest":                        {label: "-", sealed: steptest.ClusterUID, trusted: true, want: signal.True, reason: inventory.ReasonVerified},
		"another's by its manifest":              {label: "-", sealed: otherCluster, trusted: true, aside: true, want: signal.False, reason: inventory.ReasonOtherCluster},
		"by a manifest that nobody can verify":   {label: "-", sealed: steptest.ClusterUID, want: signal.Unknown, reason: inventory.ReasonSourceUnknown},
		"by a manifest that does not say it":     {label: "-", sealed: "-", trusted: true, want: signal.Unknown, reason: inventory.ReasonSourceUnknown},
		"by nothing":                             {label: "-", trusted: true, want: signal.Unknown, reason: inventory.ReasonSourceUnknown},
		"by nothing, and nobody knew the target": {label: "-", aside: true, want: signal.Unknown, reason: inventory.ReasonSourceUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			store := backuptest.NewStore(backuptest.Spec{Name: "b1", Namespace: "shop", StatefulSet: "pg", ClusterUID: tc.label, Kubernetes: steptest.Kubernetes,
				Started: steptest.Start.Add(-time.Hour)})
			exp, key := backup.Expectation{Namespace: "shop", StatefulSet: "pg", Now: steptest.Start}, signer(t)
			if tc.sealed != "" {
				if _, err := backup.Seal(t.Context(), store, "b1", strings.TrimPrefix(tc.sealed, "-"), exp, key); err != nil {
					t.Fatal(err)
				}
			}
			if tc.trusted {
				exp.Key = key
			}
			if !tc.aside {
				exp.ClusterUID = steptest.ClusterUID
			}
			v, err := backup.Verify(t.Context(), store, "b1", exp)
			if err != nil || v.Status != signal.True {
				t.Fatal(err, v.Message)
			}
			p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
			p.Spec.Inventory = &plan.Inventory{MaxAge: plan.Duration(24 * time.Hour), Velero: &plan.Velero{Location: "s3://velero/shop"}}
			w := steptest.New(t, run.Recover, p)
			w.Env.Backups = func(context.Context, *plan.Plan) (backup.Store, error) { return store, nil }
			w.Run.Backup = &run.Backup{Phase: run.Verified, Status: v.Status, Name: v.Name, ClusterUID: v.ClusterUID, Listing: v.Listing}
			s, err := w.Env.Open(t.Context(), "AssessCluster", w.Run)
			if err != nil {
				t.Fatal(err)
			}
			b, r, err := s.VerifiedInventory(t.Context())
			if b == nil || err != nil || r.Status != tc.want || r.Reason != tc.reason {
				t.Fatalf("%v %+v, expected %s %s", err, r, tc.want, tc.reason)
			}
			defer b.Close()
			for _, fix := range []string{"fallback backup seal --backup b1", backup.LabelCluster} {
				if told := strings.Contains(r.Message, fix); told != (tc.want == signal.Unknown) {
					t.Errorf("%q: names %q: %t", r.Message, fix, told)
				}
			}
		})
	}
}
