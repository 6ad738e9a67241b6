package sample_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/sample/sampletest"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/velero"
)

// TestBackups takes backups of the shop on demand and by its Schedule, finds them in the bucket, and has a reset remove them.
func TestBackups(t *testing.T) {
	shop := sampletest.Up(t)
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := sample.Beat(t.Context(), shop.Client, sample.Namespace, at); err != nil {
		t.Fatal(err)
	}
	wantAnswers(t, shop, at)

	first := shop.Backup(t, "first")
	second, err := sample.BackupFromSchedule(t.Context(), shop.Client, "second")
	if err != nil {
		t.Fatal(err)
	}
	for b, schedule := range map[*velero.Backup]string{first: "", second: sample.Schedule} {
		if got := b.Labels[velero.LabelSchedule]; got != schedule {
			t.Errorf("backup %s is labelled with the schedule %q, want %q", b.Name, got, schedule)
		}
		if n := objects(t, shop.Stack, b.Name); n != 9 {
			t.Errorf("backup %s has %d objects in the bucket, want 9", b.Name, n)
		}
	}
	if _, err := sample.Backup(t.Context(), shop.Client, "first"); err == nil {
		t.Error("a second backup of the same name was taken")
	}

	if _, err := sample.Reset(t.Context(), shop.Options); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		if n := objects(t, shop.Stack, name); n != 0 {
			t.Errorf("after the reset backup %s has %d objects in the bucket, want none", name, n)
		}
	}
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
