package restore

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

func title(o *unstructured.Unstructured) string { return o.GetKind() + " " + o.GetName() }

// workloadOf finds the workload's StatefulSet in the inventory.
func workloadOf(objects []*unstructured.Unstructured, namespace, name string) (*appsv1.StatefulSet, error) {
	for _, o := range objects {
		if o.GetKind() == "StatefulSet" && o.GetNamespace() == namespace && o.GetName() == name {
			st, err := cluster.Decode[appsv1.StatefulSet](o)
			if err != nil {
				return nil, fault.New(fault.InventoryBroken, "read StatefulSet "+name+" of the inventory", err)
			}
			return st, nil
		}
	}
	return nil, fault.Newf(fault.ObjectsMissing, "restore StatefulSet "+namespace+"/"+name, "the inventory does not hold it")
}

// restoreClaims makes the workload's claims from the newest ready snapshots of production, else from those that the inventory
// names. A claim of the workload without either stops the restore: an empty volume is not a restored one. Other claims of
// the namespace are restored when there is a snapshot, and left out otherwise.
func restoreClaims(ctx context.Context, s *step.Session, ch *change.Changer, b *inventory.Bundle, objects []*unstructured.Unstructured,
	st *appsv1.StatefulSet) (done []run.Snapshot, leftOut []string, err error) {
	from := s.Plan.Spec.Workload.Namespace
	like, err := claimsOf(objects, from)
	if err != nil {
		return nil, nil, err
	}
	names := volume.ClaimNames(st)
	required := len(names)
	for n := range like {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names[required:])
	live, err := snapshots.Newest(ctx, s.Cluster, from, s.Plan.Spec.Rollback.Snapshots.Selector, names)
	if err != nil {
		return nil, nil, err
	}
	type source struct {
		claim string
		like  *corev1.PersistentVolumeClaim
		snap  run.Snapshot
	}
	var sources []source
	for i, name := range names {
		c := like[name]
		if c == nil {
			c = volume.Template(st, name)
		}
		snap, ok := live[name]
		if !ok {
			snap, ok = snapshots.OfBundle(b, name)
		}
		switch {
		case ok && c != nil:
			sources = append(sources, source{name, c, snap})
		case i < required && c == nil:
			return nil, nil, fault.Newf(fault.ObjectsMissing, "restore claim "+name, "the inventory holds neither the claim nor a template of it")
		case i < required:
			return nil, nil, fault.Newf(fault.ObjectsMissing, "restore claim "+name, "namespace %s has no ready VolumeSnapshot of it%s, and the inventory names none",
				from, selecting(s.Plan.Spec.Rollback.Snapshots.Selector))
		default:
			leftOut = append(leftOut, "PersistentVolumeClaim "+name+": no snapshot of it")
		}
	}
	cs, err := readClasses(ctx, s, ch)
	if err != nil {
		return nil, nil, err
	}
	// All snapshots first: they become ready while the claims are made.
	for i := range sources {
		sources[i].like = sources[i].like.DeepCopy()
		if err := cs.settle(ctx, sources[i].like, sources[i].snap.Driver); err != nil {
			return nil, nil, err
		}
		if sources[i].snap, err = snapshots.Import(ctx, ch, sources[i].snap, s.Target()); err != nil {
			return nil, nil, err
		}
	}
	for _, src := range sources {
		u, err := snapshots.Claim(src.like, s.Target(), src.claim, src.snap)
		if err != nil {
			return nil, nil, err
		}
		stripMetadata(u)
		if _, err := ch.Create(ctx, u, "restore claim "+src.claim+" from its snapshot"); err != nil {
			return nil, nil, err
		}
		done = append(done, src.snap)
	}
	return done, leftOut, nil
}

func selecting(selector map[string]string) string {
	if len(selector) == 0 {
		return ""
	}
	return fmt.Sprintf(" with labels %v", selector)
}

func claimsOf(objects []*unstructured.Unstructured, namespace string) (map[string]*corev1.PersistentVolumeClaim, error) {
	out := map[string]*corev1.PersistentVolumeClaim{}
	for _, o := range objects {
		if o.GetKind() != "PersistentVolumeClaim" || o.GetNamespace() != namespace {
			continue
		}
		c, err := cluster.Decode[corev1.PersistentVolumeClaim](o)
		if err != nil {
			return nil, fault.New(fault.InventoryBroken, "read "+title(o)+" of the inventory", err)
		}
		out[c.Name] = c
	}
	return out, nil
}
