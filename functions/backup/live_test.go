package backup_test

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	backupstep "fallbackchain.io/fallback/functions/backup"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/production"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/s3store"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/velero"
)

// live is the shop on a real control plane, with a real backup of it in a real S3 server.
type live struct {
	c    *cluster.Client
	plan *plan.Plan
	env  *step.Env
}

const name = "shop-1"

// TestLive runs on one stack: what the step says of the real backup, and of a target that is spoiled in one way at a time.
func TestLive(t *testing.T) {
	st := stacktest.Up(t, stack.Options{})
	if _, err := sample.Deploy(t.Context(), sample.Options{Kubeconfig: st.Kubeconfig(), Dir: t.TempDir(), StackDir: st.Layout().Dir}); err != nil {
		t.Fatal(err)
	}
	l := &live{plan: &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}}
	at := st.Backups()
	l.plan.Spec.Workload = plan.Workload{Namespace: sample.Namespace, StatefulSet: "pg"}
	l.plan.Spec.Inventory = &plan.Inventory{MaxAge: plan.Duration(time.Hour), Velero: &plan.Velero{Location: at.Location(), Region: at.Region, Endpoint: at.Endpoint,
		CredentialsFile: at.CredentialsFile, Namespace: stack.VeleroNamespace, StorageLocation: stack.StorageLocation}}
	l.plan = l.plan.WithDefaults()
	var err error
	if l.c, err = cluster.FromKubeconfig(st.Kubeconfig(), ""); err != nil {
		t.Fatal(err)
	}
	l.env = &step.Env{
		LoadPlan: func(context.Context, run.PlanRef) (*plan.Plan, error) { return l.plan, nil },
		Connect:  func(context.Context, *plan.Plan) (*cluster.Client, error) { return l.c, nil },
		Backups: func(ctx context.Context, p *plan.Plan) (backup.Store, error) {
			c, err := s3store.ClientFor(ctx, p.Spec.Inventory.Velero)
			if err != nil {
				return nil, err
			}
			return s3store.NewBackups(c, p.Spec.Inventory.Velero.Location)
		},
		Read: &step.BackupCache{}, Journals: &journal.Files{Dir: t.TempDir()}, Now: time.Now,
	}
	l.backup(t)
	r := run.Run{ID: "shop-drill-20261121020000-9f3c", Mode: run.Drill}
	b, ok := l.handle(t, "choose", r).(run.Backup)
	if !ok || b.Phase != run.Verified || b.Name != name || b.VolumeCount != 3 {
		t.Fatalf("%+v", b)
	}
	r.Backup = &b
	l.fits(t, r)
	l.spoiled(t, r)
}

func (l *live) handle(t *testing.T, op string, r run.Run) any {
	t.Helper()
	out, err := steptest.Retried((&backupstep.Handler{Env: l.env}).Handle)(t.Context(), op, "Test", r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (l *live) backup(t *testing.T) {
	t.Helper()
	if _, err := sample.Backup(t.Context(), l.c, name); err != nil {
		t.Fatal(err)
	}
}

// fits: nothing is in the way on the cluster that the backup is of, the API server was really asked, and production is as it was.
func (l *live) fits(t *testing.T, r run.Run) {
	t.Helper()
	before, err := production.Read(t.Context(), l.c, sample.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []run.Mode{run.Drill, run.Evaluate} {
		r.Mode = mode
		out, _ := l.handle(t, "rehearse", r).(run.Rehearsal)
		if out.Phase != run.Passed || run.Stops(out.Findings) || out.Asked < 5 || out.AskedIn != sample.Namespace {
			t.Errorf("%s: %+v", mode, out)
		}
	}
	after, err := production.Read(t.Context(), l.c, sample.Namespace)
	if err != nil || before.Digest() != after.Digest() {
		t.Errorf("production changed: %v %v", err, production.Diff(before, after))
	}
}

var (
	policies = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"}
	bindings = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"}
	quotas   = schema.GroupVersionResource{Version: "v1", Resource: "resourcequotas"}
)

const (
	policy = `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: none}, spec: {matchConstraints: {resourceRules: [
  {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [secrets]}]}, validations: [{expression: "false", message: "no secrets here"}]}}`
	binding = `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: none}, spec: {policyName: none, validationActions: [Deny]}}`
	quota   = `{apiVersion: v1, kind: ResourceQuota, metadata: {name: tight, namespace: shop}, spec: {hard: {count/services: "1"}}}`
)

func (l *live) spoiled(t *testing.T, r run.Run) {
	t.Helper()
	locations := l.c.Dynamic.Resource(velero.BackupStorageLocations).Namespace(stack.VeleroNamespace)
	for _, tc := range []struct {
		name  string
		spoil func(*testing.T)
		until string // says that the API server has taken it in
		stop  string
	}{
		{"no StorageClass", func(t *testing.T) { l.without(t, cluster.StorageClasses, "local-csi") }, "StorageClass local-csi", "StorageClass local-csi"},
		{"a quota of the living namespace", func(t *testing.T) { l.with(t, quotas, quota) }, "exceeded quota: tight", ""},
		{"no driver", func(t *testing.T) {
			l.without(t, cluster.CSIDrivers, "local.csi.fallbackchain.io")
		}, "CSIDriver local.csi.fallbackchain.io", ""},
		{"another location", func(t *testing.T) {
			patch := func(prefix string) {
				if _, err := locations.Patch(context.WithoutCancel(t.Context()), stack.StorageLocation, types.MergePatchType, []byte(`{"spec":{"objectStorage":{"prefix":"`+prefix+`"}}}`), metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			prefix := l.plan.Spec.Inventory.Velero.Location[strings.LastIndexByte(l.plan.Spec.Inventory.Velero.Location, '/')+1:]
			patch("elsewhere")
			t.Cleanup(func() { patch(prefix) })
		}, "s3://velero/elsewhere", "BackupStorageLocation"},
		// The last one: it holds for a moment longer than it is there.
		{"an admission policy", func(t *testing.T) {
			l.with(t, policies, policy)
			l.with(t, bindings, binding)
		}, "no secrets here", "Secret "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.spoil(t)
			var out run.Rehearsal
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			// A policy takes a moment until the API server holds requests against it.
			ok, err := l.c.WaitFor(ctx, 500*time.Millisecond, nil, func(context.Context) (bool, error) {
				out, _ = l.handle(t, "rehearse", r).(run.Rehearsal)
				for _, f := range out.Findings {
					if strings.Contains(f.Subject+" "+f.Problem, tc.until) {
						return true, nil
					}
				}
				return false, nil
			})
			if !ok || err != nil {
				t.Fatalf("%v %+v", err, out)
			}
			if want := tc.stop != ""; run.Stops(out.Findings) != want || (out.Phase == run.Refused) != want {
				t.Errorf("%+v", out)
			}
			if tc.stop != "" && !strings.HasPrefix(out.Findings[0].Subject, tc.stop) {
				t.Errorf("%+v", out.Findings[0])
			}
		})
	}
	// What cannot be read at all is no inventory.
	l.plan.Spec.Inventory.Velero.Location += "-other"
	if b, _ := l.handle(t, "choose", r).(run.Backup); b.Phase != run.Failed || b.Status != signal.False || b.Reason != backup.ReasonNothingToChoose {
		t.Errorf("%+v", b)
	}
}

// with makes an object for one test.
func (l *live) with(t *testing.T, gvr schema.GroupVersionResource, text string) {
	t.Helper()
	o := steptest.Object(t, text)
	ri := l.c.Dynamic.Resource(gvr).Namespace(o.GetNamespace())
	if _, err := ri.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ri.Delete(context.WithoutCancel(t.Context()), o.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// without takes a cluster-scoped object away for one test.
func (l *live) without(t *testing.T, gvr schema.GroupVersionResource, name string) {
	t.Helper()
	ri := l.c.Dynamic.Resource(gvr)
	have, err := ri.Get(t.Context(), name, metav1.GetOptions{})
	if err == nil {
		err = ri.Delete(t.Context(), name, metav1.DeleteOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		back := have.DeepCopy()
		unstructured.RemoveNestedField(back.Object, "metadata", "resourceVersion")
		unstructured.RemoveNestedField(back.Object, "metadata", "uid")
		if _, err := ri.Create(context.WithoutCancel(t.Context()), back, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	})
}
