// Package testbed is a local stack with the sample shop for the end-to-end tests of one package, and what they ask of a run: the outcome,
// the tiers it went through, the rows in the database, and what was left behind.
package testbed

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	"fallbackchain.io/fallback/cmd/fallback/runner"
	"fallbackchain.io/fallback/cmd/fallback/runstore"
	"fallbackchain.io/fallback/infra/local/faults"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Bed is the one stack that all tests of a package use, one after the other.
type Bed struct {
	Stack  *stack.Stack
	Sample *sample.Deployed
	Client *cluster.Client
	// Dir is the package's own directory, Store where its runs are kept.
	Dir   string
	Store runstore.Store
	// RunLimit ends a run that hangs: 5 minutes, if not set. The budgets that a scenario is about are in its plan.
	RunLimit time.Duration
}

// Main starts a stack of this name with the sample, hands it to use, runs the tests and ends the process with their code.
func Main(m *testing.M, name string, use func(*Bed)) {
	MainWith(m, name, func(ctx context.Context, b *Bed) (err error) {
		b.Sample, err = sample.Deploy(ctx, sample.Options{Kubeconfig: b.Stack.Kubeconfig(), StackDir: b.Stack.Layout().Dir, Dir: filepath.Join(b.Dir, "sample")})
		use(b)
		return err
	})
}

// MainWith is Main for tests of another workload than the sample: prepare is given a stack with none, and sets the bed's Sample at least
// to a plan.
func MainWith(m *testing.M, name string, prepare func(context.Context, *Bed) error) {
	code, err := with(name, prepare, m.Run)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		code = 1
	}
	os.Exit(code)
}

func with(name string, prepare func(context.Context, *Bed) error, tests func() int) (code int, err error) {
	// Not t.TempDir: the databases run as another user and must reach their volumes.
	dir, err := os.MkdirTemp("", "fallback-"+name+"-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	progress := func(e stack.Event) { fmt.Fprintln(os.Stderr, e) }
	s, err := stack.Up(ctx, stack.Options{Dir: filepath.Join(dir, "stack"), Name: name, Progress: progress})
	if err != nil {
		return 1, err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if serr := s.Stop(stop); serr != nil && err == nil {
			err = serr
		}
	}()
	c, err := cluster.FromKubeconfig(s.Kubeconfig(), "")
	if err != nil {
		return 1, err
	}
	if err := prepare(ctx, &Bed{Stack: s, Client: c, Dir: dir, Store: runstore.Store{Dir: filepath.Join(dir, "runs")}}); err != nil {
		return 1, err
	}
	code = tests()
	return code, CheckRights(os.Stderr, s.AuditLog(), name, partial(code))
}

// Start runs the plan in this process: the sample's own unless an option names another.
func (b *Bed) Start(t *testing.T, mode run.Mode, o ...Option) runner.Result {
	t.Helper()
	res, err := b.Try(t, mode, o...)
	if err != nil {
		t.Fatalf("%s: %v", mode, err)
	}
	return res
}

// Try is Start for a test that begins several runs at once.
func (b *Bed) Try(t *testing.T, mode run.Mode, o ...Option) (runner.Result, error) {
	t.Helper()
	r := runner.New(b.Store)
	r.AsFunctions = true
	q := runner.Request{Mode: mode, PlanPath: b.Sample.Plan, Requester: t.Name()}
	var lines []string
	r.OnEvent = func(e walk.Event) {
		if e.Kind != walk.Entered {
			lines = append(lines, fmt.Sprintf("%s %s: %s %s → %s (%s)", e.Kind, e.State, e.Reason, e.Cause, e.Next, e.Duration.Round(time.Millisecond)))
		}
	}
	for _, f := range o {
		f(r, &q)
	}
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(b.RunLimit, 5*time.Minute))
	defer cancel()
	res, err := r.Start(ctx, q)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("path of %s:\n%s", res.Run.ID, strings.Join(lines, "\n"))
		}
	})
	if err != nil {
		return res, err
	}
	t.Logf("%s %s: %s in %s, of it %s waiting for the cluster", mode, res.Run.ID, res.End.Terminal, res.Took.Round(time.Millisecond), res.ClusterTook.Round(time.Millisecond))
	return res, nil
}

// Break injects a fault and waits until it shows.
func (b *Bed) Break(t *testing.T, name string) {
	t.Helper()
	o := faults.Options{StackDir: b.Stack.Layout().Dir, SampleDir: filepath.Dir(b.Sample.Plan), Progress: func(s string) { t.Log(s) }}
	if err := faults.Break(t.Context(), name, o); err != nil {
		t.Fatalf("break %s: %v", name, err)
	}
}

// Reset brings the shop back to how it was deployed.
func (b *Bed) Reset(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	o := sample.Options{Kubeconfig: b.Stack.Kubeconfig(), StackDir: b.Stack.Layout().Dir, Dir: filepath.Dir(b.Sample.Plan)}
	if _, err := sample.Reset(ctx, o); err != nil {
		t.Fatalf("reset the sample: %v", err)
	}
}

// Counts are the orders in each pod of a namespace.
func (b *Bed) Counts(t *testing.T, namespace string) map[string]int {
	t.Helper()
	got, err := sample.Counts(t.Context(), b.Stack.Kubeconfig(), namespace)
	if err != nil {
		t.Fatalf("count the orders: %v", err)
	}
	return got
}

// Tiers are those that the run entered, in order.
func Tiers(res runner.Result) []string {
	var out []string
	for _, v := range res.Path {
		for _, name := range []string{"VolumeAttachmentSync", "ControlPlaneReconcile", "DegradedStatefulSet"} {
			if v.State == name && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// Leftovers are the objects that still carry a run's label, besides those that are kept on purpose.
func (b *Bed) Leftovers(t *testing.T, runID string) []string {
	t.Helper()
	var out []string
	for _, gvr := range []schema.GroupVersionResource{cluster.Namespaces, cluster.NetworkPolicies, cluster.Pods, cluster.StatefulSets, cluster.PersistentVolumeClaims,
		cluster.VolumeSnapshots, cluster.VolumeSnapshotContents, cluster.Secrets, cluster.Services, cluster.ConfigMaps} {
		for _, u := range b.list(t, gvr, "", metav1.ListOptions{LabelSelector: change.LabelRun + "=" + runID}) {
			out = append(out, gvr.Resource+" "+u.GetNamespace()+"/"+u.GetName())
		}
	}
	return out
}

// list reads again after a fault that may go away: some scenarios have just taken the API server away and brought it back.
func (b *Bed) list(t *testing.T, gvr schema.GroupVersionResource, ns string, o metav1.ListOptions) []unstructured.Unstructured {
	t.Helper()
	var items []unstructured.Unstructured
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		l, err := b.Client.Dynamic.Resource(gvr).Namespace(ns).List(ctx, o)
		if last = err; err != nil {
			if fault.From(cluster.Fault("list "+gvr.Resource, err)).Class() != fault.Retry {
				return false, err
			}
			return false, nil
		}
		items = l.Items
		return true, nil
	})
	if err != nil {
		t.Fatalf("list %s: %v (%v)", gvr.Resource, err, last)
	}
	return items
}

// Versions are the resourceVersions of everything in a namespace that a drill must leave alone.
func (b *Bed) Versions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	out := map[string]string{}
	add := func(gvr schema.GroupVersionResource, ns string, keep func(u unstructured.Unstructured) bool) {
		for _, u := range b.list(t, gvr, ns, metav1.ListOptions{}) {
			if keep(u) {
				out[gvr.Resource+"/"+u.GetName()] = u.GetResourceVersion()
			}
		}
	}
	all := func(unstructured.Unstructured) bool { return true }
	for _, gvr := range []schema.GroupVersionResource{cluster.Pods, cluster.StatefulSets, cluster.PersistentVolumeClaims, cluster.Services, cluster.Secrets,
		cluster.ConfigMaps, cluster.VolumeSnapshots, cluster.NetworkPolicies} {
		add(gvr, namespace, all)
	}
	add(cluster.Namespaces, "", func(u unstructured.Unstructured) bool { return u.GetName() == namespace })
	add(cluster.PersistentVolumes, "", func(u unstructured.Unstructured) bool {
		ns, _, _ := unstructured.NestedString(u.Object, "spec", "claimRef", "namespace")
		return ns == namespace
	})
	return out
}

// Read returns one of a run's report files.
func Read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
