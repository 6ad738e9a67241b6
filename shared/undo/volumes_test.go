package undo_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/undo"
)

// A volume gets its policy Delete back only while a claim has it, and keeps it: the provisioner would delete a Released one at once.
func TestAVolumesPolicy(t *testing.T) {
	const claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {namespace: shop, name: data-pg-0, uid: claim-0"
	for _, tc := range []struct {
		name, phase, claim, want, left string
		replaced                       bool
	}{
		{name: "its claim has it", phase: "Bound", claim: claim + "}", want: "Delete"},
		{name: "released", phase: "Released", claim: claim + "}", want: "Retain", left: `it is "Released", no claim's`},
		{name: "available", phase: "Available", want: "Retain", left: `it is "Available", no claim's`},
		{name: "the claim is gone and the volume controller has not seen it", phase: "Bound", want: "Retain", left: "its claim shop/data-pg-0 is gone"},
		{name: "the claim is another", phase: "Bound", claim: strings.Replace(claim, "claim-0", "claim-1", 1) + "}", want: "Retain", left: "another one has its name"},
		{name: "the claim is being deleted", phase: "Bound", claim: claim + `, deletionTimestamp: "2026-11-21T02:00:00Z", finalizers: [kubernetes.io/pvc-protection]}`,
			want: "Retain", left: "its claim shop/data-pg-0 is being deleted"},
		{name: "the caller replaced the claim", phase: "Bound", want: "Retain", replaced: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world(t)
			w.Put(cluster.PersistentVolumes, "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-0}\nspec: {persistentVolumeReclaimPolicy: Delete, "+
				"claimRef: {namespace: shop, name: data-pg-0, uid: claim-0}}\nstatus: {phase: Bound}")
			pv := change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: "pv-0", UID: w.Get(cluster.PersistentVolumes, "", "pv-0").GetUID()}
			must[*unstructured.Unstructured](t)(w.Changer("Tier").Patch(t.Context(), pv, types.MergePatchType,
				[]byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`), "", "test", journal.UndoRestore))
			u := w.Get(cluster.PersistentVolumes, "", "pv-0")
			if err := unstructured.SetNestedField(u.Object, tc.phase, "status", "phase"); err != nil {
				t.Fatal(err)
			}
			if err := w.Fake.Tracker().Update(cluster.PersistentVolumes, u, ""); err != nil {
				t.Fatal(err)
			}
			if tc.claim != "" {
				w.Put(cluster.PersistentVolumeClaims, tc.claim)
			}
			deps := undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}
			if tc.replaced {
				deps.Replaced = []string{"pv-0"}
			}
			res, err := undo.Entries(t.Context(), deps, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, _, _ := unstructured.NestedString(w.Get(cluster.PersistentVolumes, "", "pv-0").Object, "spec", "persistentVolumeReclaimPolicy"); got != tc.want {
				t.Errorf("the policy is %s, want %s", got, tc.want)
			}
			if left := strings.Join(res.Left, " "); (tc.left == "") != res.Complete() || !strings.Contains(left, tc.left) {
				t.Errorf("left %q, want %q", left, tc.left)
			}
		})
	}
}
