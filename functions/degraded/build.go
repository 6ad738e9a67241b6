package degraded

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// needed are the kinds that one replica needs to start; nothing else is built in a degraded state.
var needed = []schema.GroupKind{
	{Kind: "ServiceAccount"}, {Kind: "Secret"}, {Kind: "ConfigMap"}, {Kind: "Service"},
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}, {Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"},
}

// build makes the workload from the inventory: of the objects only those whose digest matches, and nothing over what is there.
func (w *work) build(ctx context.Context) error {
	ns, name := w.s.Target(), w.s.Plan.Spec.Workload.StatefulSet
	op := "build StatefulSet " + ns + "/" + name
	if w.s.Run.Mode == run.Drill {
		return fault.Newf(fault.ObjectsMissing, op, "the drill's StatefulSet is gone")
	}
	b, verified, err := w.s.VerifiedInventory(ctx)
	if err != nil {
		return err
	}
	if b == nil {
		return fault.Newf(fault.InventoryBroken, op, "it is gone, and there is no inventory to build it from: %s", verified.Message)
	}
	defer b.Close()
	if err := trusted(op, verified); err != nil {
		return err
	}
	objects, findings := b.Objects(ctx)
	for _, f := range findings {
		w.foundf("not used: %s", f)
	}
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "StatefulSet" && o.GroupVersionKind().Group == "apps" && o.GetNamespace() == ns && o.GetName() == name
	})
	if i < 0 {
		return fault.Newf(fault.InventoryBroken, op, "the inventory holds no StatefulSet %s whose digest matches", name)
	}
	w.foundf("StatefulSet %s is missing", name)
	there := 0
	for _, o := range objects {
		if o.GetNamespace() != ns || !slices.Contains(needed, o.GroupVersionKind().GroupKind()) {
			continue
		}
		made, err := w.make(ctx, o, "the replica needs it")
		if err != nil {
			return err
		}
		if !made {
			there++
		}
	}
	if there > 0 {
		w.foundf("%d objects that it needs exist and are left as they are", there)
	}
	return w.statefulSet(ctx, op, objects[i], b)
}

// trusted refuses an inventory that is not this cluster's and workload's, or too old. Single files that are broken are left out.
func trusted(op string, r inventory.Result) error {
	switch {
	case r.Status == signal.True:
		return nil
	case r.Status != signal.False:
		return fault.Newf(fault.InventoryBroken, op, "the inventory could not be verified: %s", r.Message)
	}
	for _, f := range r.Findings {
		if f.File == inventory.ManifestFile {
			return fault.Newf(fault.InventoryBroken, op, "the inventory is not verified: %s", f)
		}
	}
	return nil
}

// make creates an object that does not exist; one that does is left as it is.
func (w *work) make(ctx context.Context, o *unstructured.Unstructured, why string) (made bool, err error) {
	if o.GetKind() == "ServiceAccount" && o.GetName() == "default" {
		return false, nil // each namespace gets its own
	}
	_, err = w.ch.Create(ctx, o, why)
	if err == nil {
		w.didf("%s %s from the inventory", o.GetKind(), o.GetName())
		return true, nil
	}
	if fault.From(err).Code == fault.OverwriteRefused {
		return false, nil
	}
	return false, err
}

func (w *work) statefulSet(ctx context.Context, op string, o *unstructured.Unstructured, b *inventory.Bundle) error {
	o = o.DeepCopy()
	spec, ok, err := unstructured.NestedMap(o.Object, "spec", "template", "spec")
	if err != nil || !ok {
		return fault.Newf(fault.InventoryBroken, op, "the inventory's StatefulSet has no pod template")
	}
	if spec["hostNetwork"] == true {
		return fault.Newf(fault.IsolationBroken, op, "its pods use their nodes' network, which no NetworkPolicy holds")
	}
	relaxed, given, err := Relax(spec, w.s.Plan.Spec.Tiers.DegradedStatefulSet.Relax)
	if err != nil {
		return fault.New(fault.PlanInvalid, op, err)
	}
	for _, set := range []error{
		unstructured.SetNestedMap(o.Object, relaxed, "spec", "template", "spec"),
		unstructured.SetNestedField(o.Object, int64(1), "spec", "replicas"),
		unstructured.SetNestedField(o.Object, "Retain", "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"),
		unstructured.SetNestedField(o.Object, "Retain", "spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"),
	} {
		if set != nil {
			return fault.New(fault.InventoryBroken, op, set)
		}
	}
	st, err := cluster.Decode[appsv1.StatefulSet](o)
	if err != nil {
		return fault.New(fault.InventoryBroken, op, err)
	}
	if err := w.ensureClaims(ctx, st, b); err != nil {
		return err
	}
	if _, err := w.ch.Create(ctx, o, "one replica in quarantine, relaxed as the plan says"); err != nil {
		return err
	}
	w.didf("StatefulSet %s with one replica from the inventory", o.GetName())
	if len(given) > 0 {
		w.didf("gave up %s", strings.Join(given, ", "))
	}
	return nil
}
