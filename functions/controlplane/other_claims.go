package controlplane

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/snapshots"
	"fallbackchain.io/fallback/shared/volume"
)

// otherClaims finds the claims of the inventory that are not the StatefulSet's and do not exist: they went with the namespace as its own
// did. One without a source is named and not made, for an empty volume is not a recovered one. In a drill the restore brought them.
func (w *work) otherClaims(ctx context.Context, byName map[string]*corev1.PersistentVolumeClaim, own []string, statefulSet string) ([]missingClaim, error) {
	if w.s.Run.Mode != run.Recover {
		return nil, nil
	}
	ns := w.s.Target()
	absent := map[string]bool{}
	for n := range byName {
		absent[n] = !volume.IsClaimOf(n, statefulSet) && !slices.Contains(own, n)
	}
	live, err := cluster.List[corev1.PersistentVolumeClaim](ctx, w.s.Cluster, cluster.PersistentVolumeClaims, ns, metav1.ListOptions{})
	if err != nil {
		return nil, cluster.Fault("list the claims of namespace "+ns, err)
	}
	for _, c := range live {
		absent[c.Name] = false
	}
	maps.DeleteFunc(absent, func(_ string, yes bool) bool { return !yes })
	if len(absent) == 0 {
		return nil, nil
	}
	all, err := cluster.List[corev1.PersistentVolume](ctx, w.s.Cluster, cluster.PersistentVolumes, "", metav1.ListOptions{})
	if err != nil {
		return nil, cluster.Fault("list PersistentVolumes", err)
	}
	f := &volume.Facts{Volumes: slices.DeleteFunc(all, func(v corev1.PersistentVolume) bool {
		return v.Spec.ClaimRef == nil || v.Spec.ClaimRef.Namespace != ns
	})}
	names := slices.Sorted(maps.Keys(absent))
	newest, err := snapshots.Newest(ctx, w.s.Cluster, ns, nil, names)
	if err != nil {
		return nil, err
	}
	var out []missingClaim
	for _, n := range names {
		c := missingClaim{name: n, like: byName[n], retained: retained(f, n)}
		if s, ok := newest[n]; ok {
			c.snapshot = &s
		}
		if s, ok := snapshots.OfBundle(w.bundle, n); ok {
			c.handle = &s
		}
		if c.retained == nil && c.snapshot == nil && c.handle == nil {
			w.foundf("missing: claim %s, and no volume and no snapshot of it is left: it is not made", n)
			continue
		}
		w.missing++
		w.foundf("missing: claim %s (%s)", n, c.source())
		out = append(out, c)
	}
	return out, nil
}
