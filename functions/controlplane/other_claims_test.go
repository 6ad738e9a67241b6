package controlplane

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/steptest"
)

// The claim cache is of the inventory and not of StatefulSet pg; the volume, the snapshot and the handle are what may be left of it.
const (
	cacheClaim = `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: cache, namespace: shop}, spec: {storageClassName: fast,
  accessModes: [ReadWriteOnce], volumeName: old, resources: {requests: {storage: 1Gi}}}}`
	cacheVolume = `{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-cache}, spec: {storageClassName: fast, accessModes: [ReadWriteOnce],
  persistentVolumeReclaimPolicy: Delete, capacity: {storage: 1Gi}, claimRef: {namespace: shop, name: cache, uid: gone}}, status: {phase: Released}}`
	cacheSnapshot = `{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshot, metadata: {name: snap-cache, namespace: shop},
  spec: {source: {persistentVolumeClaimName: cache}}, status: {readyToUse: true, boundVolumeSnapshotContentName: content-cache, creationTime: "2026-11-21T01:00:00Z"}}`
	cacheContent = `{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotContent, metadata: {name: content-cache},
  spec: {driver: csi.example.com, deletionPolicy: Retain}, status: {snapshotHandle: h-live}}`
	unreadySnapshot = `{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshot, metadata: {name: snap-cache, namespace: shop},
  spec: {source: {persistentVolumeClaimName: cache}}, status: {readyToUse: false, boundVolumeSnapshotContentName: content-cache}}`
	foreignVolume = `{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-foreign}, spec: {storageClassName: fast, accessModes: [ReadWriteOnce],
  persistentVolumeReclaimPolicy: Retain, capacity: {storage: 1Gi}, claimRef: {namespace: yard, name: cache, uid: gone}}, status: {phase: Released}}`
	foreignClaim = `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: cache, namespace: yard}, spec: {storageClassName: fast,
  accessModes: [ReadWriteOnce], resources: {requests: {storage: 9Gi}}}}`
	fromHandle = "shop-recover-20261121020000-9f3c-cache"
	noSource   = "missing: claim cache, and no volume and no snapshot of it is left: it is not made"
)

// TestOtherClaims: a claim of the inventory that is not the StatefulSet's comes back from the best that is left of it, or not at all.
func TestOtherClaims(t *testing.T) {
	handle := []inventory.Snapshot{{Claim: "cache", Driver: "csi.example.com", Handle: "h-bundle", Size: "1Gi", TakenAt: steptest.Start.Add(-2 * time.Hour)}}
	for _, tc := range []struct {
		name      string
		mode      run.Mode
		inventory []string
		handles   []inventory.Snapshot
		cluster   []string
		// writes are what is sent to the cluster, found what is said of claims, missing how many are counted.
		writes, found []string
		missing       int
		// volume and source are what the claim that was made is bound to or made from.
		volume, source string
	}{
		{name: "its volume before every snapshot", inventory: []string{cacheClaim}, handles: handle, cluster: []string{cacheVolume, cacheSnapshot, cacheContent},
			writes: []string{"patch persistentvolumes pv-cache", "patch persistentvolumes pv-cache", "create persistentvolumeclaims shop/cache"},
			found:  []string{"missing: claim cache (its volume pv-cache was kept)"}, missing: 1, volume: "pv-cache"},
		{name: "a live snapshot before the inventory's", inventory: []string{cacheClaim}, handles: handle, cluster: []string{cacheSnapshot, cacheContent},
			writes: []string{"create persistentvolumeclaims shop/cache"},
			found:  []string{"missing: claim cache (from VolumeSnapshot snap-cache of 2026-11-21 01:00:00Z)"}, missing: 1, source: "snap-cache"},
		{name: "the inventory's snapshot", inventory: []string{cacheClaim}, handles: handle, cluster: []string{unreadySnapshot, cacheContent, foreignVolume},
			writes: []string{"create volumesnapshotcontents " + fromHandle, "create volumesnapshots shop/" + fromHandle, "create persistentvolumeclaims shop/cache"},
			found:  []string{"missing: claim cache (from the inventory's snapshot h-bundle of 2026-11-21 00:00:00Z)"}, missing: 1, source: fromHandle},
		{name: "it exists", inventory: []string{cacheClaim}, handles: handle, cluster: []string{cacheClaim, cacheVolume, cacheSnapshot, cacheContent}},
		{name: "nothing is left of it", inventory: []string{cacheClaim}, cluster: []string{unreadySnapshot, cacheContent, foreignVolume}, found: []string{noSource}},
		{name: "another namespace's claim of the same name is not it", inventory: []string{cacheClaim}, cluster: []string{foreignClaim}, found: []string{noSource}},
		{name: "a claim of another namespace is none of this run's", inventory: []string{foreignClaim}, handles: handle,
			cluster: []string{foreignClaim, cacheVolume, cacheSnapshot, cacheContent}},
		{name: "nor does it take the place of this run's", inventory: []string{cacheClaim, foreignClaim}, cluster: []string{foreignClaim}, found: []string{noSource}},
		{name: "a drill makes none", mode: run.Drill, inventory: []string{cacheClaim}, handles: handle, cluster: []string{cacheVolume, cacheSnapshot, cacheContent}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &plan.Plan{Metadata: plan.Metadata{Name: "shop"}}
			p.Spec.Workload = plan.Workload{Namespace: "shop", StatefulSet: "pg"}
			p.Spec.Inventory = &plan.Inventory{Manifests: &plan.ManifestBundle{Path: "x"}, MaxAge: plan.Duration(1 << 50)}
			mode := tc.mode
			if mode == "" {
				mode = run.Recover
			}
			w := steptest.New(t, mode, p, append([]string{set}, tc.cluster...)...)
			w.Bundle = steptest.BundleOf(t, tc.handles, nil, append([]string{set}, tc.inventory...)...)
			s, err := w.Env.Open(t.Context(), "ControlPlaneReconcile", w.Run)
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := verified(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			objects, findings := bundle.Objects(t.Context())
			if len(findings) > 0 {
				t.Fatal(findings)
			}
			kept, _ := scoped(s, objects)
			work := &work{s: s, ch: s.Changer(), bundle: bundle, slice: t.Context()}
			claims, err := work.missingClaims(t.Context(), kept)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range claims {
				if err := work.claim(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.writes, w.Writes()); diff != "" {
				t.Error("sent to the cluster:", diff)
			}
			if diff := cmp.Diff(tc.found, work.found); diff != "" || work.missing != tc.missing {
				t.Errorf("%d missing, expected %d; found: %s", work.missing, tc.missing, diff)
			}
			if tc.volume == "" && tc.source == "" {
				return
			}
			made := w.Get(cluster.PersistentVolumeClaims, "shop", "cache")
			if made == nil {
				t.Fatal("claim cache was not made")
			}
			volume, _, _ := unstructured.NestedString(made.Object, "spec", "volumeName")
			source, _, _ := unstructured.NestedString(made.Object, "spec", "dataSource", "name")
			if volume != tc.volume || source != tc.source {
				t.Errorf("volume %q and source %q, expected %q and %q", volume, source, tc.volume, tc.source)
			}
		})
	}
}
