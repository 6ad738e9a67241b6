package quarantine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"fallbackchain.io/fallback/functions/quarantine"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

const shop = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: shop}}"

const openPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{}], policyTypes: [Ingress]}`

const closedPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}], policyTypes: [Ingress]}`

func newPlan(level plan.QuarantineLevel) *plan.Plan {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	p.Spec.Quarantine = plan.Quarantine{Level: level, Budget: plan.Duration(time.Minute)}
	if level == plan.LevelEnforced {
		p.Spec.Quarantine.ProbeImage, p.Spec.Quarantine.Probes = "registry/busybox:1", []string{"10.0.0.5:5432"}
	}
	return p
}

// do runs an operation and puts its section into the run.
func do(t *testing.T, w *steptest.World, op string) run.Quarantine {
	t.Helper()
	q, err := (&quarantine.Handler{Env: w.Env}).Handle(t.Context(), op, "State", w.Run)
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	w.Run.Quarantine = &q
	return q
}

func TestDrillNamespaceIsClosedFirst(t *testing.T) {
	for _, tc := range []struct{ name, production, enforce string }{
		{"production without pod security", shop, "baseline"},
		{"production is privileged", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: privileged}}", "baseline"},
		{"production is restricted", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted}}", "restricted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := steptest.New(t, run.Drill, newPlan(plan.LevelApplied), tc.production, openPolicy)
			q := do(t, w, "apply")
			ns := "drill-" + w.Run.ID
			prefix := ns + "/quarantine-" + w.Run.ID + "-"
			if d := cmp.Diff([]string{"create Namespace " + ns, "create NetworkPolicy " + prefix + "deny", "create NetworkPolicy " + prefix + "inside", "create NetworkPolicy " + prefix + "dns"}, w.Changes()); d != "" {
				t.Error(d)
			}
			if q.Phase != run.Applied || q.Level != "" || q.Namespace != ns || !q.Deadline.Equal(steptest.Start.Add(time.Minute)) || len(q.Policies) != 3 {
				t.Errorf("section %+v", q)
			}
			labels := w.Get(cluster.Namespaces, "", ns).GetLabels()
			if labels["pod-security.kubernetes.io/enforce"] != tc.enforce || labels[change.LabelRun] != w.Run.ID || labels[change.LabelManagedBy] != change.ManagedBy {
				t.Errorf("labels %v, expected pod security %s", labels, tc.enforce)
			}
			do(t, w, "apply")
			if n := len(w.Changes()); n != 4 {
				t.Errorf("a second apply made changes: %q", w.Changes()[4:])
			}
			if q := do(t, w, "check"); q.Phase != run.Verified || q.Level != "Applied" || !strings.Contains(q.Message, "unproven") {
				t.Errorf("check: %+v", q)
			}
			if w.Get(cluster.NetworkPolicies, "shop", "web") == nil {
				t.Error("a drill touched production's policy")
			}
		})
	}
}

func TestRecoverSuspendsAndLiftPutsBack(t *testing.T) {
	w := steptest.New(t, run.Recover, newPlan(plan.LevelApplied), shop, openPolicy, closedPolicy)
	q := do(t, w, "apply")
	if d := cmp.Diff([]string{"suspended: NetworkPolicy web opens ingress: everyone on every port"}, q.Findings); d != "" {
		t.Error(d)
	}
	if w.Get(cluster.NetworkPolicies, "shop", "web") != nil || w.Get(cluster.NetworkPolicies, "shop", "db") == nil {
		t.Error("expected only the policy that opens more to be suspended")
	}
	if q := do(t, w, "check"); q.Phase != run.Verified {
		t.Fatalf("check: %+v", q)
	}
	n := len(w.Writes())
	if q := do(t, w, "lift"); q.Phase != run.Lifted || len(q.Policies) != 0 {
		t.Fatalf("lift: %+v", q)
	}
	// What was suspended is back before anything of ours goes: at no moment less is closed than was before.
	if got := w.Writes()[n]; got != "create networkpolicies shop/web" {
		t.Errorf("lift began with %q", got)
	}
	if d := cmp.Diff(steptest.Object(t, openPolicy).Object, change.Bare(w.Get(cluster.NetworkPolicies, "shop", "web")).Object); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"deny", "inside", "dns"} {
		if w.Get(cluster.NetworkPolicies, "shop", "quarantine-"+w.Run.ID+"-"+name) != nil {
			t.Errorf("policy %s is still there", name)
		}
	}
}

func TestLiftLeavesWhatOthersMade(t *testing.T) {
	w := steptest.New(t, run.Recover, newPlan(plan.LevelApplied), shop, openPolicy)
	do(t, w, "apply")
	w.Put(cluster.NetworkPolicies, strings.Replace(openPolicy, "ingress: [{}]", "ingress: []", 1)) // somebody made another one
	q := do(t, w, "lift")
	if q.Phase != run.Broken || len(q.Findings) != 1 || !strings.Contains(q.Findings[0], "another one has its name") {
		t.Errorf("lift: %+v", q)
	}
}

func TestMissingNamespaceIsMade(t *testing.T) {
	w := steptest.New(t, run.Recover, newPlan(plan.LevelApplied))
	do(t, w, "apply")
	if got := w.Changes()[0]; got != "create Namespace shop" {
		t.Errorf("first change %q", got)
	}
	if q := do(t, w, "check"); q.Phase != run.Verified {
		t.Errorf("check: %+v", q)
	}
}

// Whatever is not as it was made, or opens more, breaks the quarantine.
func TestCheckFindsWhatIsBroken(t *testing.T) {
	name := func(w *steptest.World, n string) string { return "quarantine-" + w.Run.ID + "-" + n }
	for _, tc := range []struct {
		name string
		act  func(w *steptest.World)
		want string
	}{
		{"a policy is gone", func(w *steptest.World) { w.Drop(cluster.NetworkPolicies, "shop", name(w, "dns")) }, "-dns does not exist"},
		{"the deny is gone", func(w *steptest.World) { w.Drop(cluster.NetworkPolicies, "shop", name(w, "deny")) }, "-deny does not exist"},
		{"a policy was changed", func(w *steptest.World) {
			p := w.Get(cluster.NetworkPolicies, "shop", name(w, "deny"))
			w.Put(cluster.NetworkPolicies, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: "+p.GetName()+", namespace: shop, labels: {fallbackchain.io/run: "+w.Run.ID+"}}\nspec: {podSelector: {matchLabels: {app: x}}, policyTypes: [Ingress, Egress]}")
		}, "-deny was changed"},
		{"a policy is somebody else's now", func(w *steptest.World) {
			p := w.Get(cluster.NetworkPolicies, "shop", name(w, "deny"))
			p.SetLabels(nil)
			text, err := p.MarshalJSON()
			if err != nil {
				w.Fatal(err)
			}
			w.Put(cluster.NetworkPolicies, string(text))
		}, "-deny is not this run's"},
		{"somebody opened it", func(w *steptest.World) { w.Put(cluster.NetworkPolicies, openPolicy) }, "NetworkPolicy web opens ingress: everyone on every port"},
		{"a pod on its node's network", func(w *steptest.World) {
			w.Put(cluster.Pods, "apiVersion: v1\nkind: Pod\nmetadata: {name: agent, namespace: shop}\nspec: {hostNetwork: true}")
		}, "pod agent uses its node's network"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := steptest.New(t, run.Recover, newPlan(plan.LevelApplied), shop)
			do(t, w, "apply")
			tc.act(w)
			q := do(t, w, "check")
			if q.Phase != run.Broken || q.Level != "" || !strings.Contains(strings.Join(q.Findings, "\n"), tc.want) {
				t.Errorf("%+v, expected %q", q, tc.want)
			}
		})
	}
}

// The pod's end is simulated: no node runs it here. Whatever it says is judged by the real check.
func TestEnforced(t *testing.T) {
	const ok = "control ok kubernetes.default.svc.cluster.local\\nclosed 10.0.0.5 5432\\nend\\n"
	terminated := func(message string) string {
		return `{phase: Succeeded, containerStatuses: [{name: probe, state: {terminated: {exitCode: 0, message: "` + message + `"}}}]}`
	}
	for _, tc := range []struct {
		name, status string
		late         bool
		phase        run.Phase
		finding      string
	}{
		{name: "nothing got out", status: terminated(ok), phase: run.Verified},
		{name: "it got out", status: terminated(strings.Replace(ok, "closed", "open", 1)), phase: run.Broken, finding: "a pod inside reached 10.0.0.5:5432"},
		{name: "the control failed", status: terminated("control failed x\\nend\\n"), phase: run.Broken, finding: "the probe's control failed"},
		{name: "it said nothing", status: terminated(""), phase: run.Broken, finding: "the probe's result is incomplete"},
		{name: "it was evicted", status: `{phase: Failed, reason: Evicted}`, phase: run.Broken, finding: "the probe pod failed: Evicted"},
		{name: "it runs and there is time", status: `{phase: Running}`, phase: run.Running},
		{name: "its image cannot be pulled and the time is over", late: true, phase: run.Broken, finding: "the probe did not end within 1m: ErrImagePull not found",
			status: `{phase: Pending, containerStatuses: [{name: probe, state: {waiting: {reason: ErrImagePull, message: not found}}}]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := steptest.New(t, run.Recover, newPlan(plan.LevelEnforced), shop)
			do(t, w, "apply")
			probe := "probe-" + w.Run.ID
			// The kubelet: it sets the pod's status when the pod is made.
			w.Fake.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
				u := a.(clienttesting.CreateActionImpl).Object.(*unstructured.Unstructured)
				u.Object["status"] = steptest.Object(t, "kind: Pod\nstatus: "+tc.status).Object["status"]
				return false, nil, nil
			})
			// The slice of time is over at once for a pod that does not end.
			if tc.late {
				w.Pass(time.Minute)
			} else if tc.phase == run.Running {
				at := w.Now().Add(20 * time.Millisecond)
				w.Run.Quarantine.Deadline = &at
			}
			q := do(t, w, "check")
			if q.Phase != tc.phase {
				t.Fatalf("%+v, expected %s", q, tc.phase)
			}
			if tc.finding != "" && !strings.Contains(strings.Join(q.Findings, "\n"), tc.finding) {
				t.Errorf("findings %q, expected %q", q.Findings, tc.finding)
			}
			if want := map[bool]string{true: "Enforced"}[tc.phase == run.Verified]; q.Level != want {
				t.Errorf("level %q, expected %q", q.Level, want)
			}
			if gone := w.Get(cluster.Pods, "shop", probe) == nil; gone != (tc.phase != run.Running) {
				t.Errorf("the probe pod is gone: %v", gone)
			}
		})
	}
}

// Policies that are not NetworkPolicies: those of administrators that accept break the quarantine; those that nobody here can judge
// break it unless a probe decides.
func TestOtherPolicies(t *testing.T) {
	accepting := "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: monitoring}\nspec: {tier: Admin, subject: {namespaces: {matchLabels: {team: shop}}}, ingress: [{action: Accept}]}"
	cilium := "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: db, namespace: shop}"
	elsewhere := "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: db, namespace: web}"
	for _, tc := range []struct {
		name, object string
		forbidden    bool
		want         string
		code         fault.Code
	}{
		{name: "none"},
		{name: "an administrator's that accepts", object: accepting, want: "ClusterNetworkPolicy monitoring accepts ingress, which no NetworkPolicy can deny"},
		{name: "an administrator's about other namespaces", object: strings.Replace(accepting, "team: shop", "team: web", 1)},
		{name: "a network plugin's own", object: cilium, want: "CiliumNetworkPolicy db (cilium.io) is not judged"},
		{name: "a network plugin's own in another namespace", object: elsewhere},
		{name: "they may not be read", forbidden: true, code: fault.PermissionDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects := []string{shop}
			if tc.object != "" {
				objects = append(objects, tc.object)
			}
			w := steptest.New(t, run.Recover, newPlan(plan.LevelApplied), objects...)
			w.Discovery["/apis"] = `{"kind":"APIGroupList","groups":[
{"name":"policy.networking.k8s.io","versions":[{"groupVersion":"policy.networking.k8s.io/v1alpha2","version":"v1alpha2"}],"preferredVersion":{"groupVersion":"policy.networking.k8s.io/v1alpha2","version":"v1alpha2"}},
{"name":"cilium.io","versions":[{"groupVersion":"cilium.io/v2","version":"v2"}],"preferredVersion":{"groupVersion":"cilium.io/v2","version":"v2"}}]}`
			w.Discovery["/apis/policy.networking.k8s.io/v1alpha2"] = `{"kind":"APIResourceList","groupVersion":"policy.networking.k8s.io/v1alpha2","resources":[
{"name":"clusternetworkpolicies","kind":"ClusterNetworkPolicy"},{"name":"clusternetworkpolicies/status","kind":"ClusterNetworkPolicy"}]}`
			w.Discovery["/apis/cilium.io/v2"] = `{"kind":"APIResourceList","groupVersion":"cilium.io/v2","resources":[{"name":"ciliumnetworkpolicies","kind":"CiliumNetworkPolicy","namespaced":true}]}`
			if tc.forbidden {
				w.Fake.PrependReactor("list", "clusternetworkpolicies", func(clienttesting.Action) (bool, runtime.Object, error) {
					return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "clusternetworkpolicies"}, "", nil)
				})
			}
			do(t, w, "apply")
			q, err := (&quarantine.Handler{Env: w.Env}).Handle(t.Context(), "check", "State", w.Run)
			if tc.code != "" {
				if fault.From(err).Code != tc.code || err == nil {
					t.Errorf("%v, expected %s", err, tc.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if broken := q.Phase == run.Broken; broken != (tc.want != "") || (broken && q.Findings[0] != tc.want) {
				t.Errorf("%s: %q, expected %q", q.Phase, q.Findings, tc.want)
			}
		})
	}
}

func TestEnforcedNeedsWhatItNeeds(t *testing.T) {
	w := steptest.New(t, run.Recover, newPlan(plan.LevelEnforced), shop)
	w.Plan.Spec.Quarantine.Probes = nil
	do(t, w, "apply")
	if q := do(t, w, "check"); q.Phase != run.Broken || len(w.Changes()) != 3 {
		t.Errorf("%+v, %q", q, w.Changes())
	}
}

func TestRefusals(t *testing.T) {
	w := steptest.New(t, run.Recover, newPlan(plan.LevelApplied), shop)
	h := &quarantine.Handler{Env: w.Env}
	if _, err := h.Handle(t.Context(), "open", "State", w.Run); fault.From(err).Code != fault.Internal {
		t.Errorf("unknown operation: %v", err)
	}
	w.Plan.Spec.Quarantine.Level = "Sometimes"
	if _, err := h.Handle(t.Context(), "apply", "State", w.Run); fault.From(err).Code != fault.PlanInvalid {
		t.Errorf("unknown level: %v", err)
	}
	w.Plan.Spec.Quarantine.Level = plan.LevelApplied
	w.Guard = fault.New(fault.LeaseLost, "change", nil)
	if _, err := h.Handle(t.Context(), "apply", "State", w.Run); fault.From(err).Code != fault.LeaseLost {
		t.Errorf("without the lease: %v", err)
	}
	w.Guard = nil
	w.Run.DryRun = true
	n := len(w.Writes())
	if _, err := h.Handle(t.Context(), "apply", "State", w.Run); err != nil || len(w.Writes()) != n {
		t.Errorf("a dry run wrote %q (%v)", w.Writes()[n:], err)
	}
}
