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

// A volume gets its policy Delete back only while a claim has it: a Released one would be deleted by the provisioner at once.
func TestAVolumesPolicy(t *testing.T) {
	for phase, want := range map[string]string{"Bound": "Delete", "Released": "Retain", "Available": "Retain"} {
		t.Run(phase, func(t *testing.T) {
			w := world(t)
			w.Put(cluster.PersistentVolumes, "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-0}\nspec: {persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: shop, name: data-pg-0}}\nstatus: {phase: Bound}")
			pv := change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: "pv-0", UID: w.Get(cluster.PersistentVolumes, "", "pv-0").GetUID()}
			must[*unstructured.Unstructured](t)(w.Changer("Tier").Patch(t.Context(), pv, types.MergePatchType,
				[]byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`), "", "test", journal.UndoRestore))
			u := w.Get(cluster.PersistentVolumes, "", "pv-0")
			if err := unstructured.SetNestedField(u.Object, phase, "status", "phase"); err != nil {
				t.Fatal(err)
			}
			if err := w.Fake.Tracker().Update(cluster.PersistentVolumes, u, ""); err != nil {
				t.Fatal(err)
			}
			res, err := undo.Entries(t.Context(), undo.Deps{Cluster: w.Cluster, Changer: w.Changer("Rollback")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, _, _ := unstructured.NestedString(w.Get(cluster.PersistentVolumes, "", "pv-0").Object, "spec", "persistentVolumeReclaimPolicy"); got != want {
				t.Errorf("the policy is %s, want %s", got, want)
			}
			if want == "Delete" != res.Complete() || want == "Retain" && !strings.Contains(strings.Join(res.Left, " "), "its data would be deleted") {
				t.Errorf("left %q", res.Left)
			}
		})
	}
}
