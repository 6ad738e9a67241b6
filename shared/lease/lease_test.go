package lease

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
)

const (
	name    = "shop.db"
	quiesce = time.Minute
)

var start = time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC)

func fakeCluster() (*cluster.Client, *fake.FakeDynamicClient) {
	f := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		cluster.Leases: "LeaseList", cluster.Namespaces: "NamespaceList"})
	return &cluster.Client{Dynamic: f}, f
}

func claim(id string, m run.Mode, at time.Duration) Claim {
	return Claim{Name: name, Run: id, Mode: m, Plan: "shop", Now: start.Add(at), Quiesce: quiesce}
}

// act is one thing that a run does to the lease, and what must come of it.
type act struct {
	claim   Claim
	clear   bool
	verdict Verdict
	holder  string
	// guard tells, after the act, whose guard agrees.
	guard string
}

func TestScenarios(t *testing.T) {
	drill, drill2 := "shop-drill-1", "shop-drill-2"
	rec, rec2 := "shop-recover-1", "shop-recover-2"
	D, R := run.Drill, run.Recover
	abandoned := markLife()
	for _, tc := range []struct {
		name string
		acts []act
	}{
		{"free lease is taken, again by the same run, and released", []act{
			{claim(rec, R, 0), false, Held, rec, rec},
			{claim(rec, R, time.Second), false, Held, rec, rec},
			{claim(rec, R, time.Minute), true, "", "", ""},
			{claim(rec, R, time.Minute), true, "", "", ""},
			{claim(drill, D, time.Hour), false, Held, drill, drill},
		}},
		{"a recover is never preempted", []act{
			{claim(rec, R, 0), false, Held, rec, rec},
			{claim(rec2, R, time.Second), false, Busy, rec, rec},
			{claim(drill, D, time.Second), false, Busy, rec, rec},
			{claim(rec2, R, 2*limits.LeaseDuration), false, Busy, rec, rec},
		}},
		{"a drill does not preempt a drill", []act{
			{claim(drill, D, 0), false, Held, drill, drill},
			{claim(drill2, D, time.Second), false, Busy, drill, drill},
		}},
		{"a recover preempts a drill after the mark has stood for the quiesce time", []act{
			{claim(drill, D, 0), false, Held, drill, drill},
			{claim(rec, R, time.Second), false, Waiting, drill, ""},
			{claim(rec, R, 2*time.Second), false, Waiting, drill, ""},
			{claim(rec, R, time.Second+quiesce-time.Nanosecond), false, Waiting, drill, ""},
			{claim(rec, R, time.Second+quiesce), false, Held, rec, rec},
			{claim(drill, D, 2*time.Minute), true, "", rec, rec},
		}},
		{"a marked drill cannot take its lease again", []act{
			{claim(drill, D, 0), false, Held, drill, drill},
			{claim(rec, R, time.Second), false, Waiting, drill, ""},
			{claim(drill, D, 2*time.Second), false, Busy, drill, ""},
		}},
		{"a marked drill that releases frees it at once", []act{
			{claim(drill, D, 0), false, Held, drill, drill},
			{claim(rec, R, time.Second), false, Waiting, drill, ""},
			{claim(drill, D, 2*time.Second), true, "", "", ""},
			{claim(rec, R, 3*time.Second), false, Held, rec, rec},
		}},
		{"one recover preempts at a time", []act{
			{claim(drill, D, 0), false, Held, drill, drill},
			{claim(rec, R, time.Second), false, Waiting, drill, ""},
			{claim(rec2, R, 2*time.Second), false, Busy, drill, ""},
			{claim(rec2, R, time.Second+abandoned), false, Waiting, drill, ""},
			{claim(rec2, R, time.Second+abandoned+quiesce), false, Held, rec2, rec2},
		}},
		{"a preemptor that gives up leaves the drill its lease", []act{
			{claim(drill, D, 0), false, Held, drill, drill},
			{claim(rec, R, time.Second), false, Waiting, drill, ""},
			{claim(rec, R, 2*time.Second), true, "", drill, drill},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := t.Context()
			c, _ := fakeCluster()
			for i, a := range tc.acts {
				var got State
				if a.clear {
					s, err := Clear(ctx, c, name, a.claim.Run)
					if err != nil {
						t.Fatalf("act %d: %v", i, err)
					}
					got = s
				} else {
					at, err := TryAcquire(ctx, c, a.claim)
					if err != nil {
						t.Fatalf("act %d: %v", i, err)
					}
					if at.Verdict != a.verdict {
						t.Fatalf("act %d: verdict %s, want %s", i, at.Verdict, a.verdict)
					}
					if a.verdict == Waiting && at.Until.IsZero() {
						t.Errorf("act %d: a waiting run is not told until when", i)
					}
					got = at.State
				}
				read, err := Holder(ctx, c, name)
				if err != nil {
					t.Fatal(err)
				}
				if got.Holder != a.holder || read.Holder != a.holder {
					t.Fatalf("act %d: holder %q (read back %q), want %q", i, got.Holder, read.Holder, a.holder)
				}
				for _, id := range []string{drill, drill2, rec, rec2} {
					err := NewGuard(c, name, id).Check(ctx)
					if id == a.guard && err != nil {
						t.Errorf("act %d: the guard of %s says %v", i, id, err)
					}
					if id != a.guard && fault.From(err).Code != fault.LeaseLost {
						t.Errorf("act %d: the guard of %s says %v, want LeaseLost", i, id, err)
					}
				}
			}
		})
	}
}

func TestAcquiredLeaseSaysWhoseItIs(t *testing.T) {
	c, _ := fakeCluster()
	a, err := TryAcquire(t.Context(), c, claim("shop-drill-1", run.Drill, 0))
	if err != nil {
		t.Fatal(err)
	}
	s := a.State
	if s.Mode != run.Drill || s.Plan != "shop" || !s.AcquiredAt.Equal(start) || !s.ExpiresAt.Equal(start.Add(limits.LeaseDuration)) {
		t.Errorf("state %+v", s)
	}
	if limits.LeaseDuration <= limits.MachineTimeout {
		t.Errorf("the lease (%s) ends before the longest execution (%s)", limits.LeaseDuration, limits.MachineTimeout)
	}
}

// A lost compare-and-swap is decided by what the winner wrote, not by what was read before.
func TestLostSwapReadsAgain(t *testing.T) {
	c, f := fakeCluster()
	ctx := t.Context()
	if _, err := TryAcquire(ctx, c, claim("shop-drill-1", run.Drill, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := Clear(ctx, c, name, "shop-drill-1"); err != nil {
		t.Fatal(err)
	}
	lost := false
	f.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		if lost {
			return false, nil, nil
		}
		lost = true
		// Another run wins in between. (The reactor holds the fake's lock, so it writes to the tracker itself.)
		won := State{object: &coordinationv1.Lease{TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
			ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}}}
		occupy(won.object, claim("shop-recover-9", run.Recover, 0))
		u, err := toUnstructured(won.object)
		if err == nil {
			err = f.Tracker().Update(cluster.Leases, u, Namespace)
		}
		if err != nil {
			t.Error(err)
		}
		return true, nil, apierrors.NewConflict(cluster.Leases.GroupResource(), name, errors.New("the object has been modified"))
	})
	a, err := TryAcquire(ctx, c, claim("shop-recover-1", run.Recover, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if !lost || a.Verdict != Busy || a.State.Holder != "shop-recover-9" {
		t.Errorf("verdict %s, holder %q: want Busy with the winner", a.Verdict, a.State.Holder)
	}
}

func TestEndlessConflictIsARetryableFault(t *testing.T) {
	c, f := fakeCluster()
	ctx := t.Context()
	if _, err := TryAcquire(ctx, c, claim("shop-drill-1", run.Drill, 0)); err != nil {
		t.Fatal(err)
	}
	f.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewConflict(cluster.Leases.GroupResource(), name, errors.New("modified"))
	})
	for what, err := range map[string]error{
		"clear":   second(Clear(ctx, c, name, "shop-drill-1")),
		"preempt": second(TryAcquire(ctx, c, claim("shop-recover-1", run.Recover, 0))),
	} {
		if fault.From(err).Code != fault.Conflict {
			t.Errorf("%s: %v, want Conflict", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestNamespaceIsMadeWhenMissing(t *testing.T) {
	c, f := fakeCluster()
	f.PrependReactor("create", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		if _, err := f.Tracker().Get(cluster.Namespaces, "", Namespace, metav1.GetOptions{}); err != nil {
			return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, Namespace)
		}
		return false, nil, nil
	})
	a, err := TryAcquire(t.Context(), c, claim("shop-drill-1", run.Drill, 0))
	if err != nil || a.Verdict != Held {
		t.Fatalf("verdict %s, err %v", a.Verdict, err)
	}
}

func TestUnreadableLeaseIsNeverFree(t *testing.T) {
	c, f := fakeCluster()
	f.PrependReactor("get", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable}}
	})
	if _, err := TryAcquire(t.Context(), c, claim("shop-drill-1", run.Drill, 0)); fault.From(err).Code != fault.Unavailable {
		t.Errorf("acquire: %v", err)
	}
	if err := NewGuard(c, name, "shop-drill-1").Check(context.Background()); fault.From(err).Code != fault.Unavailable {
		t.Errorf("guard: %v", err)
	}
}

func TestName(t *testing.T) {
	long := strings.Repeat("a", 240)
	seen := map[string]string{}
	for _, w := range [][2]string{{"shop", "db"}, {"shop", "db-1"}, {"shop-db", "1"}, {"n", long + "x"}, {"namespace-which-is-long", long + "x"}, {"namespace-which-is-long", long + "y"}} {
		n := Name(w[0], w[1])
		if len(n) > maxName {
			t.Errorf("%v: %d characters", w, len(n))
		}
		if o, ok := seen[n]; ok {
			t.Errorf("%v and %s share the name %s", w, o, n)
		}
		seen[n] = strings.Join(w[:], "/")
	}
	if Name("shop", "db") != "shop.db" {
		t.Error(Name("shop", "db"))
	}
}
