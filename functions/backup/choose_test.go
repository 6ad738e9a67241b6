package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/backup/objectstore"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/steptest"
)

// taken is a backup of the world's workload, some time before the world's clock.
func taken(name string, ago time.Duration) backuptest.Spec {
	return backuptest.Spec{Name: name, Namespace: "shop", StatefulSet: "pg", ClusterUID: steptest.ClusterUID, Kubernetes: steptest.Kubernetes,
		Started: steptest.Start.Add(-ago - 30*time.Second)}
}

func velero() *plan.Plan {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}
	p.Spec.Workload = plan.Workload{Namespace: "shop", StatefulSet: "pg"}
	p.Spec.Inventory = &plan.Inventory{MaxAge: plan.Duration(48 * time.Hour), Velero: &plan.Velero{Location: "s3://velero/shop"}}
	return p
}

// world is a cluster beside a place of backups.
func world(t *testing.T, mode run.Mode, p *plan.Plan, store backup.Store, objects ...string) *steptest.World {
	w := steptest.New(t, mode, p, objects...)
	w.Env.Backups = func(context.Context, *plan.Plan) (backup.Store, error) { return store, nil }
	return w
}

func choose(w *steptest.World) (run.Backup, error) {
	w.Helper()
	s, err := (&Handler{Env: w.Env}).Handle(w.Context(), "choose", "ChooseRestorePoint", w.Run)
	b, _ := s.(run.Backup)
	if !run.Fits(b) {
		w.Errorf("the section is too large")
	}
	return b, err
}

func found(list []run.Finding, severity, what string) bool {
	return slices.ContainsFunc(list, func(f run.Finding) bool {
		return f.Severity == severity && strings.Contains(f.Subject+": "+f.Problem, what)
	})
}

func TestChoose(t *testing.T) {
	tarball := func(name string) string { return backuptest.Key(name, ".tar.gz") }
	for _, tc := range []struct {
		name   string
		change func(*plan.Plan, *backuptest.Store)
		phase  run.Phase
		status signal.Status
		reason string
		chosen string
		passed string
	}{
		{"the latest", nil, run.Verified, signal.True, "Verified", "new", ""},
		{"a broken one is passed over", func(_ *plan.Plan, s *backuptest.Store) { s.Truncate(tarball("new")) }, run.Verified, signal.True, "Verified", "old", "new: "},
		{"a named one", func(p *plan.Plan, _ *backuptest.Store) { p.Spec.Inventory.Velero.RestorePoint.Backup = "old" }, run.Verified, signal.True, "Verified", "old", ""},
		{"the RPO bounds the age of the latest", func(p *plan.Plan, _ *backuptest.Store) { p.Spec.Objectives.RPO = plan.Duration(30 * time.Minute) }, run.Failed, signal.False, "TooOld", "new", ""},
		{"the RPO does not bound a named one", func(p *plan.Plan, _ *backuptest.Store) {
			p.Spec.Objectives.RPO = plan.Duration(30 * time.Minute)
			p.Spec.Inventory.Velero.RestorePoint.Backup = "old"
		}, run.Verified, signal.True, "Verified", "old", ""},
		{"maxAge does", func(p *plan.Plan, _ *backuptest.Store) {
			p.Spec.Inventory.MaxAge = plan.Duration(90 * time.Minute)
			p.Spec.Inventory.Velero.RestorePoint.Backup = "old"
		}, run.Failed, signal.False, "TooOld", "old", ""},
		{"a manifest is required", func(p *plan.Plan, _ *backuptest.Store) {
			p.Spec.Inventory.Velero.Integrity = plan.Integrity{Key: "key.pem", Manifest: plan.ManifestRequired}
		}, run.Failed, signal.Unknown, ReasonKeyUnreadable, "", ""},
		{"nothing there", func(_ *plan.Plan, s *backuptest.Store) {
			for _, k := range s.Keys() {
				s.Delete(k)
			}
		}, run.Failed, signal.False, "NothingToChoose", "", ""},
		{"the place refuses", func(_ *plan.Plan, s *backuptest.Store) { s.FailList(fs.ErrPermission) }, run.Failed, signal.Unknown, "Refused", "", ""},
		{"its objects are refused", func(p *plan.Plan, s *backuptest.Store) {
			p.Spec.Inventory.Velero.RestorePoint.Backup = "new"
			s.Fault(tarball("new"), backuptest.Refused)
		}, run.Failed, signal.Unknown, "Refused", "new", ""},
		{"it lies about length", func(p *plan.Plan, s *backuptest.Store) {
			p.Spec.Inventory.Velero.RestorePoint.Backup = "new"
			s.Fault(tarball("new"), backuptest.Short)
		}, run.Failed, signal.False, "LengthMismatch", "new", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store, p := backuptest.NewStore(taken("old", 2*time.Hour), taken("new", time.Hour)), velero()
			if tc.change != nil {
				tc.change(p, store)
			}
			w := world(t, run.Drill, p, store)
			b, err := choose(w)
			if err != nil {
				t.Fatal(err)
			}
			if b.Phase != tc.phase || b.Status != tc.status || b.Reason != tc.reason || b.Name != tc.chosen || b.Message == "" {
				t.Errorf("%+v", b)
			}
			if b.Phase == run.Verified && (b.Listing == "" || b.VolumeCount != 2 || b.Objects == 0 || b.StartedAt == nil || b.CompletedAt == nil || !b.StartedAt.Before(*b.CompletedAt) || b.Location != "s3://velero/shop") {
				t.Errorf("%+v", b)
			}
			if got := strings.Join(b.Passed, "\n"); !strings.Contains(got, tc.passed) || (tc.passed == "" && got != "" && b.Phase == run.Verified) {
				t.Errorf("passed over %q, expected %q", got, tc.passed)
			}
			if writes := w.Writes(); len(writes) > 0 {
				t.Errorf("it wrote %v", writes)
			}
		})
	}
}

// TestTheRPOByMode: a backup was missed, and the newest is older than the RPO. A recover takes it: there is no better one.
func TestTheRPOByMode(t *testing.T) {
	for mode, takes := range map[run.Mode]bool{run.Drill: false, run.Evaluate: false, run.Recover: true} {
		for _, tc := range []struct {
			name             string
			age, rpo, maxAge time.Duration
			named            bool
			reason           string
			warns            bool
		}{
			{"within the RPO", 50 * time.Minute, time.Hour, 24 * time.Hour, false, "Verified", false},
			{"over the RPO", 83 * time.Minute, time.Hour, 24 * time.Hour, false, map[bool]string{true: "Verified", false: "TooOld"}[takes], takes},
			{"over both", 25 * time.Hour, time.Hour, 24 * time.Hour, false, "TooOld", false},
			{"the RPO is the longer one", 83 * time.Minute, 2 * time.Hour, time.Hour, false, "TooOld", false},
			{"no RPO", 83 * time.Minute, 0, 24 * time.Hour, false, "Verified", false},
			{"named by the plan", 83 * time.Minute, time.Hour, 24 * time.Hour, true, "Verified", false},
		} {
			t.Run(string(mode)+" "+tc.name, func(t *testing.T) {
				p := velero()
				p.Spec.Objectives.RPO, p.Spec.Inventory.MaxAge = plan.Duration(tc.rpo), plan.Duration(tc.maxAge)
				if tc.named {
					p.Spec.Inventory.Velero.RestorePoint.Backup = "new"
				}
				b, err := choose(world(t, mode, p, backuptest.NewStore(taken("new", tc.age-30*time.Second))))
				if err != nil || b.Reason != tc.reason || b.Name != "new" || (b.Phase == run.Verified) != (tc.reason == "Verified") {
					t.Fatalf("%v %+v", err, b)
				}
				i := slices.IndexFunc(b.Findings, func(f run.Finding) bool { return strings.Contains(f.Problem, "spec.objectives.rpo") })
				if (i >= 0) != tc.warns {
					t.Fatalf("findings %+v", b.Findings)
				}
				if f := "Warning backup new was taken 1h23m0s ago, spec.objectives.rpo is 1h: more is lost than the plan's objective; it is the newest that verifies, and spec.inventory.maxAge (24h) allows it"; tc.warns &&
					b.Findings[i].Severity+" "+b.Findings[i].Subject+" "+b.Findings[i].Problem+": "+b.Findings[i].Means != f {
					t.Errorf("%+v", b.Findings[i])
				}
			})
		}
	}
}

func TestAClusterThatDoesNotAnswerDoesNotStopIt(t *testing.T) {
	w := world(t, run.Recover, velero(), backuptest.NewStore(taken("new", time.Hour)))
	w.Fake.PrependReactor("get", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewServiceUnavailable("away")
	})
	b, err := choose(w)
	if err != nil || b.Phase != run.Verified || !found(b.Findings, run.Warning, "did not say who it is") {
		t.Errorf("%v %+v", err, b)
	}
}

func TestAPlaceThatCannotBeReachedMayBeAskedAgain(t *testing.T) {
	store := backuptest.NewStore()
	store.FailList(errors.New("connection refused"))
	if b, err := choose(world(t, run.Recover, velero(), store)); err == nil || fault.From(err).Class() != fault.Retry {
		t.Errorf("%v %+v", err, b)
	}
}

// overAt is a place at which the time is over while an object is read.
type overAt struct {
	*backuptest.Store
	key  string
	over func()
}

func (s overAt) Open(ctx context.Context, o objectstore.Object) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, o)
	if o.Key == s.key && err == nil {
		r = overReader{r, s.over}
	}
	return r, err
}

type overReader struct {
	io.ReadCloser
	over func()
}

func (r overReader) Read(b []byte) (int, error) {
	r.over()
	return r.ReadCloser.Read(b)
}

// TestASlowPlace: the call ends in time and says how far it came.
func TestASlowPlace(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store := overAt{backuptest.NewStore(taken("new", time.Hour)), backuptest.Key("new", ".tar.gz"), cancel}
	store.Fault(store.key, backuptest.Stalled)
	w := world(t, run.Recover, velero(), store)
	s, err := (&Handler{Env: w.Env}).Handle(ctx, "choose", "ChooseRestorePoint", w.Run)
	b, _ := s.(run.Backup)
	if err != nil || b.Phase != run.Failed || b.Reason != string(fault.BudgetExceeded) || b.Status != signal.Unknown || !strings.Contains(b.Message, "new.tar.gz") {
		t.Errorf("%v %+v", err, b)
	}
}

// TestManyThatVeleroDidNotComplete: they cost no try, and the section stays small however many they are.
func TestManyThatVeleroDidNotComplete(t *testing.T) {
	specs := []backuptest.Spec{taken("whole", 30*time.Hour)}
	for i := range 120 {
		spec := taken(fmt.Sprintf("night-%03d-%s", i, strings.Repeat("x", 150)), time.Duration(i+1)*time.Minute)
		spec.Phase = []string{"PartiallyFailed", "Failed", "InProgress"}[i%3]
		specs = append(specs, spec)
	}
	b, err := choose(world(t, run.Drill, velero(), backuptest.NewStore(specs...)))
	if err != nil || b.Phase != run.Verified || b.Name != "whole" || b.PassedCount != 120 || b.PassedOver() != 120 || len(b.Passed) != 6 ||
		!strings.Contains(b.Passed[5], `and 115 more that are not Completed: in all 40 "Failed", 40 "InProgress", 40 "PartiallyFailed"`) {
		t.Errorf("%v %+v", err, b)
	}
}

func TestManyVolumesAndFindingsFit(t *testing.T) {
	spec := taken("new", time.Hour)
	spec.Claims = 200
	spec.Change = map[string]func([]byte) []byte{"-volumeinfo.json.gz": func(b []byte) []byte {
		return []byte(strings.ReplaceAll(string(b), `"snapshotHandle"`, `"was"`))
	}}
	b, err := choose(world(t, run.Drill, velero(), backuptest.NewStore(spec)))
	if err != nil {
		t.Fatal(err)
	}
	if j, _ := json.Marshal(b); b.VolumeCount != 200 || b.Phase != run.Failed || len(b.Findings) < 3 || len(j) > run.SectionLimit {
		t.Errorf("%d bytes: %+v", len(j), b)
	}
}

func TestAPlanWithoutVelero(t *testing.T) {
	p := velero()
	p.Spec.Inventory = nil
	for _, op := range []string{"choose", "rehearse"} {
		w := steptest.New(t, run.Drill, p)
		s, err := (&Handler{Env: w.Env}).Handle(t.Context(), op, "X", w.Run)
		if got := fmt.Sprintf("%+v", s); err != nil || !strings.Contains(got, string(run.NotApplicable)) {
			t.Errorf("%s: %v %s", op, err, got)
		}
	}
	w := steptest.New(t, run.Drill, p)
	if _, err := (&Handler{Env: w.Env}).Handle(t.Context(), "seal", "X", w.Run); fault.From(err).Code != fault.Internal {
		t.Errorf("%v", err)
	}
}
