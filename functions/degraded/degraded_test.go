package degraded

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/undo"
)

const (
	namespace   = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}"
	statefulSet = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: pg}}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Delete}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}
  template: {metadata: {labels: {app: pg}}, spec: {nodeSelector: {disk: ssd}, containers: [{name: pg, image: postgres, resources: {requests: {cpu: "4"}}}]}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}`
	credentials = "apiVersion: v1\nkind: Secret\nmetadata: {name: pg, namespace: shop}\ndata: {password: eA==}"
	web         = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {replicas: 2}"
	ready       = `{phase: Running, conditions: [{type: Ready, status: "True"}]}`
)

func claim(i string) string {
	return "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-pg-" + i + ", namespace: shop, uid: claim-" + i + "}\nspec: {volumeName: pv-" + i + "}\nstatus: {phase: Bound}"
}

func pv(i, policy, phase string) string {
	return "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-" + i + "}\nspec: {storageClassName: gone, persistentVolumeReclaimPolicy: " + policy +
		", claimRef: {namespace: shop, name: data-pg-" + i + ", uid: claim-" + i + ", resourceVersion: \"9\"}}\nstatus: {phase: " + phase + "}"
}

func pod(i, node, status string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: pg-" + i + ", namespace: shop, labels: {app: pg}}\nspec: {nodeName: " + node + "}\nstatus: " + status
}

func newPlan() *plan.Plan {
	p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}, Spec: plan.Spec{Workload: plan.Workload{Namespace: "shop", StatefulSet: "pg"}}}
	p.Spec.Inventory = &plan.Inventory{Manifests: &plan.ManifestBundle{Path: "bundle"}, MaxAge: plan.Duration(24 * time.Hour)}
	p.Spec.Quarantine.Level = plan.LevelApplied
	p.Spec.Tiers.DegradedStatefulSet.Budget = plan.Duration(time.Minute)
	p.Spec.Tiers.DegradedStatefulSet.Relax = plan.Relax{NodeSelector: true, CPU: "100m"}
	return p
}

func world(t *testing.T, objects ...string) *steptest.World {
	t.Helper()
	w := steptest.New(t, run.Recover, newPlan(), append([]string{namespace}, objects...)...)
	w.Run.Quarantine = &run.Quarantine{Phase: run.Verified, Namespace: "shop", Level: "Applied"}
	return w
}

func handle(t *testing.T, w *steptest.World, op string) (run.Tier, error) {
	t.Helper()
	return (&Handler{Env: w.Env}).Handle(t.Context(), op, "DegradedStatefulSet", w.Run)
}

func spec(w *steptest.World, gvr schema.GroupVersionResource, ns, name string) map[string]any {
	w.Helper()
	u := w.Get(gvr, ns, name)
	if u == nil {
		w.Fatalf("%s %s/%s does not exist", gvr.Resource, ns, name)
	}
	return u.Object["spec"].(map[string]any)
}

func TestIsolated(t *testing.T) {
	good := run.Quarantine{Phase: run.Verified, Namespace: "shop", Level: "Enforced"}
	for name, tc := range map[string]struct {
		change func(q *run.Quarantine)
		level  plan.QuarantineLevel
		ok     bool
	}{
		"verified at the plan's level": {nil, plan.LevelEnforced, true},
		"verified below it":            {func(q *run.Quarantine) { q.Level = "Applied" }, plan.LevelEnforced, false},
		"verified above it":            {nil, plan.LevelApplied, false},
		"only applied":                 {func(q *run.Quarantine) { q.Phase = run.Applied }, plan.LevelEnforced, false},
		"broken":                       {func(q *run.Quarantine) { q.Phase = run.Broken }, plan.LevelEnforced, false},
		"lifted":                       {func(q *run.Quarantine) { q.Phase = run.Lifted }, plan.LevelEnforced, false},
		"of another namespace":         {func(q *run.Quarantine) { q.Namespace = "web" }, plan.LevelEnforced, false},
		"at no level":                  {func(q *run.Quarantine) { q.Level = "" }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			q := good
			if tc.change != nil {
				tc.change(&q)
			}
			err := Isolated(&q, "shop", tc.level)
			if (err == nil) != tc.ok || (err != nil && fault.From(err).Code != fault.IsolationBroken) {
				t.Errorf("%v", err)
			}
		})
	}
	if err := Isolated(nil, "shop", plan.LevelApplied); fault.From(err).Code != fault.IsolationBroken {
		t.Errorf("without a quarantine: %v", err)
	}
}

// Data first: every volume and the StatefulSet keep it before anything is scaled.
func TestScaleDown(t *testing.T) {
	w := world(t, statefulSet, claim("0"), claim("1"), pv("0", "Delete", "Bound"), pv("1", "Retain", "Bound"),
		pod("0", `""`, `{phase: Pending}`), pod("1", "node-1", ready), pod("2", "node-gone", `{phase: Running}`),
		"apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nstatus: {conditions: [{type: Ready, status: \"True\"}]}")
	out, err := handle(t, w, "start")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"patch PersistentVolume pv-0", "patch StatefulSet shop/pg", "patch StatefulSet shop/pg", "delete Pod shop/pg-0", "delete Pod shop/pg-1", "delete Pod shop/pg-2"}
	if d := cmp.Diff(want, w.Changes()); d != "" {
		t.Error(d)
	}
	s := spec(w, cluster.StatefulSets, "shop", "pg")
	if s["replicas"] != int64(1) || s["persistentVolumeClaimRetentionPolicy"].(map[string]any)["whenScaled"] != "Retain" ||
		s["updateStrategy"].(map[string]any)["rollingUpdate"].(map[string]any)["partition"] != int64(0) {
		t.Errorf("StatefulSet %v", s)
	}
	podSpec := s["template"].(map[string]any)["spec"].(map[string]any)
	if _, has := podSpec["nodeSelector"]; has || podSpec["containers"].([]any)[0].(map[string]any)["resources"].(map[string]any)["requests"].(map[string]any)["cpu"] != "100m" {
		t.Errorf("pod template %v", podSpec)
	}
	if p := spec(w, cluster.PersistentVolumes, "", "pv-0")["persistentVolumeReclaimPolicy"]; p != "Retain" {
		t.Errorf("volume's policy is %v", p)
	}
	if out.Phase != run.Started || !out.Deadline.Equal(steptest.Start.Add(time.Minute)) {
		t.Errorf("section %+v", out)
	}
	if d := cmp.Diff([]string{"PersistentVolume pv-0 is kept (Retain)", "StatefulSet pg keeps its claims", "StatefulSet pg: 3 replicas to 1",
		"gave up node selector, cpu requests (now 100m)", "deleted pod pg-0", "deleted pod pg-1", "deleted pod pg-2 (its node is gone)"}, out.Done); d != "" {
		t.Error(d)
	}
	n := len(w.Changes())
	if _, err := handle(t, w, "start"); err != nil || len(w.Changes()) != n {
		t.Errorf("a second start: %v %q", err, w.Changes()[n:])
	}
}

func TestReadyReplicaStays(t *testing.T) {
	w := world(t, statefulSet, claim("0"), pv("0", "Retain", "Bound"), pod("0", "node-1", ready),
		"apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nstatus: {conditions: [{type: Ready, status: \"True\"}]}")
	if _, err := handle(t, w, "start"); err != nil {
		t.Fatal(err)
	}
	if w.Get(cluster.Pods, "shop", "pg-0") == nil {
		t.Error("the ready replica was deleted: its controller rolls it")
	}
}

func TestRefused(t *testing.T) {
	hpa := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: pg, namespace: shop}\nspec: {scaleTargetRef: {kind: StatefulSet, name: pg}}"
	for _, tc := range []struct {
		name    string
		objects []string
		act     func(w *steptest.World)
		want    fault.Code
	}{
		{"without a quarantine", []string{statefulSet}, func(w *steptest.World) { w.Run.Quarantine = nil }, fault.IsolationBroken},
		{"an autoscaler that the plan does not pause", []string{statefulSet, hpa}, nil, fault.OwnerNotPaused},
		{"an operator", []string{strings.Replace(statefulSet, "namespace: shop}", "namespace: shop, ownerReferences: [{apiVersion: a/v1, kind: Postgres, name: main, uid: u, controller: true}]}", 1)}, nil, fault.OwnerNotPaused},
		{"pods on the node's network", []string{strings.Replace(statefulSet, "spec: {nodeSelector", "spec: {hostNetwork: true, nodeSelector", 1)}, nil, fault.IsolationBroken},
		{"a claim without volume and snapshot", []string{statefulSet}, nil, fault.ObjectsMissing},
		{"a claim whose volume is lost", []string{statefulSet, strings.Replace(claim("0"), "Bound", "Lost", 1)}, nil, fault.ObjectsMissing},
		{"a quantity that is none", []string{statefulSet, claim("0"), pv("0", "Retain", "Bound")}, func(w *steptest.World) { w.Plan.Spec.Tiers.DegradedStatefulSet.Relax.CPU = "lots" }, fault.PlanInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, tc.objects...)
			if tc.act != nil {
				tc.act(w)
			}
			_, err := handle(t, w, "start")
			if err == nil || fault.From(err).Code != tc.want {
				t.Errorf("%v, expected %s", err, tc.want)
			}
			if n := spec(w, cluster.StatefulSets, "shop", "pg")["replicas"]; n != int64(3) {
				t.Errorf("scaled to %v although it was refused", n)
			}
		})
	}
}

func TestOwnerIsPausedAsThePlanSays(t *testing.T) {
	app := "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop, namespace: shop}\nspec: {syncPolicy: {automated: {}}}"
	marked := strings.Replace(statefulSet, "namespace: shop}", "namespace: shop, annotations: {argocd.argoproj.io/tracking-id: \"shop:apps/StatefulSet:shop/pg\"}}", 1)
	w := world(t, marked, app, claim("0"), pv("0", "Retain", "Bound"))
	w.Plan.Spec.Pause = []plan.PauseOwner{{APIVersion: "argoproj.io/v1alpha1", Kind: "Application", Namespace: "shop", Name: "shop", Patch: `{"spec":{"syncPolicy":{"automated":null}}}`}}
	if _, err := handle(t, w, "start"); err != nil {
		t.Fatal(err)
	}
	if got := w.Changes()[0]; got != "patch Application shop/shop" {
		t.Errorf("first change %q", got)
	}
}

// The StatefulSet is gone: it is built from the inventory, its claim on what is left of the data.
func TestBuild(t *testing.T) {
	snapshots := []inventory.Snapshot{{Claim: "data-pg-0", Driver: "csi.example", Handle: "h", Size: "2Gi", TakenAt: steptest.Start.Add(-time.Hour)}}
	for _, tc := range []struct {
		name    string
		objects []string
		spoil   func(*inventory.Manifest, fstest.MapFS)
		want    []string
		found   string
		code    fault.Code
		verify  func(t *testing.T, w *steptest.World)
	}{
		{
			name: "on its retained volume", objects: []string{pv("0", "Retain", "Released")},
			want: []string{"create Secret shop/pg", "patch PersistentVolume pv-0", "create PersistentVolumeClaim shop/data-pg-0", "create StatefulSet shop/pg"},
			verify: func(t *testing.T, w *steptest.World) {
				ref := spec(w, cluster.PersistentVolumes, "", "pv-0")["claimRef"]
				if d := cmp.Diff(map[string]any{"namespace": "shop", "name": "data-pg-0"}, ref); d != "" {
					t.Error(d)
				}
				c := spec(w, cluster.PersistentVolumeClaims, "shop", "data-pg-0")
				if c["volumeName"] != "pv-0" || c["storageClassName"] != "gone" || c["dataSource"] != nil {
					t.Errorf("claim %v", c)
				}
			},
		},
		{
			name: "on a volume that would have been deleted", objects: []string{pv("0", "Delete", "Released")},
			want: []string{"create Secret shop/pg", "patch PersistentVolume pv-0", "patch PersistentVolume pv-0", "create PersistentVolumeClaim shop/data-pg-0", "create StatefulSet shop/pg"},
			// Undone, the volume is no claim's again: the policy Delete would delete what the tier has just saved.
			verify: func(t *testing.T, w *steptest.World) {
				if _, err := undo.Entries(t.Context(), undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}, nil); err != nil {
					t.Fatal(err)
				}
				if c := w.Get(cluster.PersistentVolumeClaims, "shop", "data-pg-0"); c != nil {
					t.Error("the claim was not undone")
				}
				if got := spec(w, cluster.PersistentVolumes, "", "pv-0")["persistentVolumeReclaimPolicy"]; got != "Retain" {
					t.Errorf("the policy is %v", got)
				}
			},
		},
		{
			name: "from the inventory's snapshot",
			want: []string{"create Secret shop/pg", "create VolumeSnapshotContent shop-recover-20261121020000-9f3c-data-pg-0",
				"create VolumeSnapshot shop/shop-recover-20261121020000-9f3c-data-pg-0", "create PersistentVolumeClaim shop/data-pg-0", "create StatefulSet shop/pg"},
			verify: func(t *testing.T, w *steptest.World) {
				s := spec(w, cluster.StatefulSets, "shop", "pg")
				if s["replicas"] != int64(1) || s["persistentVolumeClaimRetentionPolicy"].(map[string]any)["whenScaled"] != "Retain" {
					t.Errorf("StatefulSet %v", s)
				}
				if _, has, _ := unstructured.NestedMap(s, "template", "spec", "nodeSelector"); has {
					t.Error("the template was not relaxed")
				}
				if w.Get(cluster.Deployments, "shop", "web") != nil {
					t.Error("more was built than one replica needs")
				}
			},
		},
		{name: "what is there is left", objects: []string{"apiVersion: v1\nkind: Secret\nmetadata: {name: pg, namespace: shop}\ndata: {password: eQ==}", pv("0", "Retain", "Released")},
			found: "1 objects that it needs exist and are left as they are",
			want:  []string{"patch PersistentVolume pv-0", "create PersistentVolumeClaim shop/data-pg-0", "create StatefulSet shop/pg"}},
		{name: "a tampered file is not used", objects: []string{pv("0", "Retain", "Released")}, found: "not used: objects/00.yaml",
			spoil: func(m *inventory.Manifest, f fstest.MapFS) {
				f["objects/00.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(credentials, "eA==", "eB==", 1))}
			},
			want: []string{"patch PersistentVolume pv-0", "create PersistentVolumeClaim shop/data-pg-0", "create StatefulSet shop/pg"}},
		{name: "a tampered StatefulSet", spoil: func(m *inventory.Manifest, f fstest.MapFS) { f["objects/01.yaml"].Data[0] = '#' }, code: fault.InventoryBroken},
		{name: "another cluster's inventory", spoil: func(m *inventory.Manifest, _ fstest.MapFS) { m.ClusterUID = "other" }, code: fault.InventoryBroken},
		{name: "another cluster's inventory with a broken file", spoil: func(m *inventory.Manifest, f fstest.MapFS) { m.ClusterUID = "other"; delete(f, "objects/00.yaml") }, code: fault.InventoryBroken},
		{name: "an inventory that is too old", spoil: func(m *inventory.Manifest, _ fstest.MapFS) { m.CapturedAt = steptest.Start.Add(-72 * time.Hour) }, code: fault.InventoryBroken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, tc.objects...)
			w.Bundle = steptest.BundleOf(t, snapshots, tc.spoil, credentials, statefulSet, web)
			out, err := handle(t, w, "start")
			if tc.code != "" {
				if err == nil || fault.From(err).Code != tc.code || len(w.Changes()) > 0 {
					t.Errorf("%v after %q, expected %s", err, w.Changes(), tc.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, w.Changes()); d != "" {
				t.Error(d)
			}
			if !strings.Contains(strings.Join(out.Found, "\n"), tc.found) {
				t.Errorf("found %q, expected %q", out.Found, tc.found)
			}
			if tc.verify != nil {
				tc.verify(t, w)
			}
		})
	}
	w := world(t)
	if _, err := handle(t, w, "start"); fault.From(err).Code != fault.InventoryBroken {
		t.Errorf("without an inventory: %v", err)
	}
	w.Run.Mode = run.Drill
	w.Run.Quarantine.Namespace = "drill-" + w.Run.ID
	if _, err := handle(t, w, "start"); fault.From(err).Code != fault.ObjectsMissing {
		t.Errorf("in a drill: %v", err)
	}
}

func TestAwait(t *testing.T) {
	one := strings.Replace(statefulSet, "replicas: 3", "replicas: 1", 1) + "\nstatus: {updateRevision: pg-2}"
	at := func(p string) string {
		return strings.Replace(p, "{app: pg}", "{app: pg, controller-revision-hash: pg-2}", 1)
	}
	unschedulable := `{phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, lastTransitionTime: "2026-11-21T01:00:00Z", message: "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."}]}`
	small := "apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nstatus: {allocatable: {cpu: \"1\", memory: 1Gi, pods: \"10\"}, conditions: [{type: Ready, status: \"True\"}]}"
	wants := strings.Replace(pod("0", `""`, unschedulable), "spec: {nodeName: \"\"}", `spec: {containers: [{name: pg, resources: {requests: {cpu: "4"}}}]}`, 1)
	for _, tc := range []struct {
		name    string
		objects []string
		late    bool
		phase   run.Phase
		reason  fault.Code
		message string
	}{
		{"the replica is ready", []string{one, at(pod("0", "node-1", ready))}, false, run.Succeeded, "", "pod pg-0 is ready"},
		{"it has the old template", []string{one, pod("0", "node-1", ready)}, false, run.Running, "", "pod pg-0 does not have the relaxed template yet"},
		{"another pod is still there", []string{one, at(pod("0", "node-1", ready)), at(pod("1", "node-1", ready))}, false, run.Running, "", "pod pg-1 is still there"},
		{"it is not ready", []string{one, pod("0", "node-1", `{phase: Running}`)}, false, run.Running, "", "pod pg-0 on node node-1 is not ready"},
		{"it is not ready and the budget is over", []string{one, pod("0", "node-1", `{phase: Running}`)}, true, run.Failed, fault.BudgetExceeded, "not ready within 1m"},
		{"somebody scaled it back", []string{statefulSet}, false, run.Failed, fault.OwnerNotPaused, "wants 3 replicas again"},
		{"somebody deleted it", nil, false, run.Failed, fault.ObjectsMissing, "is gone"},
		{"no node will ever take it", []string{one, wants, small}, false, run.Failed, fault.SchedulingImpossible, "Insufficient cpu"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t, tc.objects...)
			deadline := w.Now().Add(time.Minute)
			if tc.late {
				w.Pass(time.Minute)
			} else if tc.phase == run.Running {
				deadline = w.Now().Add(20 * time.Millisecond)
			}
			w.Run.Degraded = &run.Tier{Phase: run.Started, Waiting: run.Waiting{Deadline: &deadline}, Done: []string{"kept"}}
			out, err := handle(t, w, "await")
			if err != nil {
				t.Fatal(err)
			}
			if out.Phase != tc.phase || out.Reason != string(tc.reason) || !strings.Contains(out.Message, tc.message) || len(out.Done) != 1 {
				t.Errorf("%+v", out)
			}
		})
	}
}
