package quarantine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/functions/degraded"
	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
	"fallbackchain.io/fallback/shared/undo"
	"fallbackchain.io/fallback/shared/volume"
)

func (w *world) degraded(ctx context.Context, op string) *run.Tier {
	w.Helper()
	for {
		began := time.Now()
		d, err := steptest.Retried((&degraded.Handler{Env: w.env}).Handle)(ctx, op, "State", w.run)
		if err != nil {
			w.Fatal(op, err)
		}
		w.Logf("degraded %s: %s %s %s in %s; found %q, done %q", op, d.Phase, d.Reason, d.Message, time.Since(began), d.Found, d.Done)
		w.run.Degraded = &d
		if d.Phase != run.Running {
			return &d
		}
	}
}

// undoAll undoes everything that the run did, as a rollback does: again while something is waited for, and after a fault that may go away.
func (w *world) undoAll(ctx context.Context) undo.Result {
	w.Helper()
	s, err := w.env.Open(ctx, "Rollback", w.run)
	if err != nil {
		w.Fatal(err)
	}
	for {
		res, err := undo.Entries(ctx, undo.Deps{Cluster: s.Cluster, Changer: s.Changer()}, nil)
		again := err == nil && len(res.Waiting) > 0 || err != nil && fault.From(err).Class() == fault.Retry
		if again && ctx.Err() == nil {
			continue
		}
		if err != nil {
			w.Fatal(err)
		}
		w.Logf("undone: %s", strings.Join(res.PutBack, "\n\t"))
		return res
	}
}

func (w *world) ready(ctx context.Context) {
	w.Helper()
	ns, name := w.plan.Spec.Workload.Namespace, w.plan.Spec.Workload.StatefulSet
	var waits []string
	ok, err := w.c.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.Pods, Namespace: ns}, {GVR: cluster.StatefulSets, Namespace: ns}}, func(ctx context.Context) (bool, error) {
		f, err := volume.ReadWorkload(ctx, w.c, ns, name)
		if err != nil {
			return false, err
		}
		waits = f.Waiting()
		return len(waits) == 0, nil
	})
	if err != nil || !ok {
		w.Fatalf("the workload is not ready: %v %v", waits, err)
	}
}

// spec is what undoing must bring back.
func (w *world) spec(ctx context.Context) appsv1.StatefulSetSpec {
	w.Helper()
	st, err := cluster.Get[appsv1.StatefulSet](ctx, w.c, cluster.StatefulSets, w.plan.Spec.Workload.Namespace, w.plan.Spec.Workload.StatefulSet)
	if err != nil {
		w.Fatal(err)
	}
	return st.Spec
}

func (w *world) policies(ctx context.Context) map[string]networkingv1.NetworkPolicySpec {
	w.Helper()
	out := map[string]networkingv1.NetworkPolicySpec{}
	ps, err := cluster.List[networkingv1.NetworkPolicy](ctx, w.c, cluster.NetworkPolicies, w.plan.Spec.Workload.Namespace, metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, p := range ps {
		out[p.Name] = p.Spec
	}
	return out
}

func (w *world) volumes(ctx context.Context) map[string]string {
	w.Helper()
	out := map[string]string{}
	pvs, err := cluster.List[corev1.PersistentVolume](ctx, w.c, cluster.PersistentVolumes, "", metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, pv := range pvs {
		if pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == w.plan.Spec.Workload.Namespace {
			out[pv.Name] = string(pv.Spec.PersistentVolumeReclaimPolicy) + " " + string(pv.Status.Phase)
		}
	}
	return out
}

func (w *world) openPolicy(ctx context.Context) {
	w.Helper()
	p := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
		"metadata": map[string]any{"name": "to-the-world"}, "spec": map[string]any{"podSelector": map[string]any{}, "egress": []any{map[string]any{}}, "policyTypes": []any{"Egress"}}}}
	np := w.c.Dynamic.Resource(cluster.NetworkPolicies).Namespace(w.plan.Spec.Workload.Namespace)
	if _, err := np.Create(ctx, p, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = np.Delete(context.Background(), "to-the-world", metav1.DeleteOptions{}) })
}

// An unschedulable workload is run with one relaxed replica behind the quarantine; undoing puts everything back.
func liveDegraded(t *testing.T, plan string) {
	w := newWorld(t, plan, run.Recover)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	w.ready(ctx)
	sts := w.c.Dynamic.Resource(cluster.StatefulSets).Namespace(w.plan.Spec.Workload.Namespace)
	name := w.plan.Spec.Workload.StatefulSet
	good := w.spec(ctx)
	unplaced := []byte(`{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":"true"}}}}}`)
	if _, err := sts.Patch(ctx, name, types.MergePatchType, unplaced, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.openPolicy(ctx)
	spec, policies, volumes := w.spec(ctx), w.policies(ctx), w.volumes(ctx)

	w.quarantine(ctx, "apply")
	if q := w.quarantine(ctx, "check"); q.Phase != run.Verified {
		t.Fatalf("check: %v", q.Findings)
	}
	w.degraded(ctx, "start")
	w.degraded(ctx, "start")
	if d := w.degraded(ctx, "await"); d.Phase != run.Succeeded {
		t.Fatalf("degraded: %s %s", d.Reason, d.Message)
	}
	for pv, is := range w.volumes(ctx) {
		if is != "Retain Bound" {
			t.Errorf("PersistentVolume %s is %s while one replica runs, expected Retain Bound", pv, is)
		}
	}
	if q := w.quarantine(ctx, "lift"); q.Phase != run.Lifted {
		t.Errorf("lift: %s %v", q.Phase, q.Findings)
	}
	if d := cmp.Diff(policies, w.policies(ctx)); d != "" {
		t.Errorf("policies after lift: %s", d)
	}
	if res := w.undoAll(ctx); !res.Complete() {
		t.Fatalf("left %q, waiting %q", res.Left, res.Waiting)
	}
	if d := cmp.Diff(spec, w.spec(ctx)); d != "" {
		t.Errorf("StatefulSet after undoing: %s", d)
	}
	if d := cmp.Diff(volumes, w.volumes(ctx)); d != "" {
		t.Errorf("volumes after undoing: %s", d)
	}
	if _, err := sts.Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"template":{"spec":{"nodeSelector":null}}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(good.Template, w.spec(ctx).Template); d != "" {
		t.Error(d)
	}
	w.deletePods(ctx)
	w.ready(ctx)
}

// deletePods makes the controller make the pods again: it does not roll past one that is not ready.
func (w *world) deletePods(ctx context.Context) {
	w.Helper()
	pods := w.c.Dynamic.Resource(cluster.Pods).Namespace(w.plan.Spec.Workload.Namespace)
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		w.Fatal(err)
	}
}

// The StatefulSet and a claim are gone: one replica is built from the inventory, its claim on the volume that was kept.
func liveDegradedBuild(t *testing.T, plan string) {
	w := newWorld(t, plan, run.Recover)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	w.ready(ctx)
	ns, name := w.plan.Spec.Workload.Namespace, w.plan.Spec.Workload.StatefulSet
	sts := w.c.Dynamic.Resource(cluster.StatefulSets).Namespace(ns)
	original, err := sts.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := cluster.List[corev1.PersistentVolumeClaim](ctx, w.c, cluster.PersistentVolumeClaims, ns, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var claim corev1.PersistentVolumeClaim
	for _, c := range claims {
		if strings.HasSuffix(c.Name, "-"+name+"-0") {
			claim = c
		}
	}
	pvs := w.c.Dynamic.Resource(cluster.PersistentVolumes)
	if _, err := pvs.Patch(ctx, claim.Spec.VolumeName, types.MergePatchType, []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	background := metav1.DeletePropagationForeground
	if err := sts.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	if err := w.c.Dynamic.Resource(cluster.PersistentVolumeClaims).Namespace(ns).Delete(ctx, claim.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ok, err := w.c.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.PersistentVolumes}, {GVR: cluster.Pods, Namespace: ns},
		{GVR: cluster.StatefulSets, Namespace: ns}, {GVR: cluster.PersistentVolumeClaims, Namespace: ns}}, func(ctx context.Context) (bool, error) {
		f, err := volume.Read(ctx, w.c, ns, name)
		if err != nil {
			return false, err
		}
		pv := f.Volume(claim.Spec.VolumeName)
		return f.StatefulSet == nil && f.Claim(claim.Name) == nil && pv != nil && pv.Status.Phase == corev1.VolumeReleased && len(f.Pods) == 0, nil
	})
	if err != nil || !ok {
		t.Fatal("the workload did not go away: ", err)
	}

	w.quarantine(ctx, "apply")
	w.quarantine(ctx, "check")
	w.degraded(ctx, "start")
	if d := w.degraded(ctx, "await"); d.Phase != run.Succeeded {
		t.Fatalf("degraded: %s %s", d.Reason, d.Message)
	}
	back, err := cluster.Get[corev1.PersistentVolumeClaim](ctx, w.c, cluster.PersistentVolumeClaims, ns, claim.Name)
	if err != nil || back.Spec.VolumeName != claim.Spec.VolumeName || back.Status.Phase != corev1.ClaimBound {
		t.Errorf("claim %s is %s on volume %q (%v), expected its own volume %s", claim.Name, back.Status.Phase, back.Spec.VolumeName, err, claim.Spec.VolumeName)
	}
	if res := w.undoAll(ctx); !res.Complete() {
		t.Fatalf("left %q, waiting %q", res.Left, res.Waiting)
	}
	f, err := volume.Read(ctx, w.c, ns, name)
	if err != nil {
		t.Fatal(err)
	}
	pv := f.Volume(claim.Spec.VolumeName)
	if f.StatefulSet != nil || f.Claim(claim.Name) != nil || pv == nil || pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		t.Errorf("after undoing: StatefulSet %v, claim %v, volume %v", f.StatefulSet, f.Claim(claim.Name), pv)
	}

	// The fixture goes back: the claim on its volume, the StatefulSet as it was. The volume's policy comes last: the provisioner deletes a
	// volume whose policy is Delete as long as its phase reads Released.
	if _, err := pvs.Patch(ctx, pv.Name, types.MergePatchType, []byte(`{"spec":{"claimRef":{"uid":null,"resourceVersion":null}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	claim.UID, claim.ResourceVersion, claim.Annotations, claim.ManagedFields, claim.OwnerReferences = "", "", nil, nil, nil
	c, err := toMap(&claim)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.Dynamic.Resource(cluster.PersistentVolumeClaims).Namespace(ns).Create(ctx, c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := sts.Create(ctx, change.Bare(original), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.ready(ctx)
	if _, err := pvs.Patch(ctx, pv.Name, types.MergePatchType, []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
