package change

import (
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

// veleroScoped are the resources that a drill may create, patch and delete in Velero's namespace, always under its own name and label.
var veleroScoped = map[schema.GroupResource]bool{
	{Group: "velero.io", Resource: "restores"}: true,
	{Resource: "configmaps"}:                   true,
}

func (s Scope) allowsVelero(r Ref, have, want map[string]string) error {
	op := "change " + r.String()
	switch {
	case !veleroScoped[r.GVR.GroupResource()]:
		return fault.Newf(fault.ProductionTouched, op, "in Velero's namespace %s a drill changes its own Restore and ConfigMap only, not %s", s.Velero, r.GVR.Resource)
	case have != nil && have[LabelRun] != s.Run:
		return fault.Newf(fault.ProductionTouched, op, "it is not this drill's: label %s is %q, expected %q", LabelRun, have[LabelRun], s.Run)
	case want[LabelRun] != s.Run || !strings.Contains(r.Name, s.Run):
		return fault.Newf(fault.ProductionTouched, op, "a drill's objects carry the run ID %s in label and name", s.Run)
	}
	return nil
}

// The only patches that a drill makes of cluster-scoped objects which Velero or a driver made for it.
const (
	// KeepSnapshot makes a VolumeSnapshotContent let go of the snapshot when it is deleted: the snapshot is the backup's.
	KeepSnapshot = `{"spec":{"deletionPolicy":"Retain"}}`
	// DropVolume makes a PersistentVolume go with its claim. Velero, at the end of a restore, gives the volumes that were made for it the
	// reclaim policy of production's (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/controller/restore_finalizer_controller.go,
	// patchDynamicPVWithVolumeInfo).
	DropVolume = `{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`
)

// Labels of Velero (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/apis/velero/v1/labels_annotations.go).
const (
	labelRestore    = "velero.io/restore-name"
	labelRestoreUID = "velero.io/restore-uid"
	labelUsage      = "velero.io/resource-usage"
)

// RestoreRecord tells whether a ConfigMap in Velero's namespace is what Velero notes there about moved data while it works on this drill's
// Restore. It deletes them at the end, but not when it dies before
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/restore/actions/dataupload_retrieve_action.go).
func (s Scope) RestoreRecord(o *unstructured.Unstructured) bool {
	l := o.GetLabels()
	return s.named() && s.RestoreUID != "" && s.Velero != "" && o.GetNamespace() == s.Velero && l[labelRestoreUID] == s.RestoreUID && l[labelUsage] == "DataUpload"
}

// RestoredContent tells whether a VolumeSnapshotContent was made by Velero for this drill's Restore: it carries the Restore's name,
// which is that of the drill's namespace, and belongs to a snapshot in that namespace.
func (s Scope) RestoredContent(o *unstructured.Unstructured) bool {
	ns, _, _ := unstructured.NestedString(o.Object, "spec", "volumeSnapshotRef", "namespace")
	return s.named() && o.GetLabels()[labelRestore] == s.Namespace && ns == s.Namespace
}

// OwnVolume tells whether a PersistentVolume was provisioned for a claim of this drill: it is bound to a claim in the drill's namespace,
// and its name ends in that claim's UID, as those that a provisioner makes do
// (https://github.com/kubernetes-csi/external-provisioner/blob/v6.3.0/pkg/controller/controller.go, makeVolumeName). A copy of
// somebody else's volume object does not.
func (s Scope) OwnVolume(o *unstructured.Unstructured) bool {
	ns, _, _ := unstructured.NestedString(o.Object, "spec", "claimRef", "namespace")
	uid, _, _ := unstructured.NestedString(o.Object, "spec", "claimRef", "uid")
	return s.named() && ns == s.Namespace && uid != "" && strings.HasSuffix(o.GetName(), uid)
}

// named tells whether the scope is that of a drill whose namespace carries its run ID.
func (s Scope) named() bool { return s.Drill && s.Run != "" && strings.Contains(s.Namespace, s.Run) }

// restored answers for objects that were made for this drill by others, and so do not carry its ID in their names; known
// is false for all others. patch is nil for a deletion.
func (s Scope) restored(verb journal.Verb, r Ref, have *unstructured.Unstructured, patch []byte) (known bool, err error) {
	if !s.Drill || have == nil {
		return false, nil
	}
	if r.Namespace != "" {
		return verb == journal.Delete && r.GVR.GroupResource() == (schema.GroupResource{Resource: "configmaps"}) && s.RestoreRecord(have), nil
	}
	op := string(verb) + " " + r.String()
	switch r.GVR.GroupResource() {
	case schema.GroupResource{Group: "snapshot.storage.k8s.io", Resource: "volumesnapshotcontents"}:
		if strings.Contains(r.Name, s.Run) || !s.RestoredContent(have) {
			return false, nil
		}
		if verb == journal.Patch && samePatch(patch, KeepSnapshot) {
			return true, nil
		}
		policy, _, _ := unstructured.NestedString(have.Object, "spec", "deletionPolicy")
		switch {
		case verb != journal.Delete:
			return true, fault.Newf(fault.ProductionTouched, op, "a drill changes nothing of it but its deletionPolicy to Retain")
		case policy != "Retain":
			return true, fault.Newf(fault.ProductionTouched, op, "its deletionPolicy is %q, expected Retain: the backup's snapshot would go with it", policy)
		}
		return true, nil
	case schema.GroupResource{Resource: "persistentvolumes"}:
		if verb == journal.Patch && samePatch(patch, DropVolume) && s.OwnVolume(have) {
			return true, nil
		}
	}
	return false, nil
}

func samePatch(patch []byte, want string) bool {
	var a, b any
	if json.Unmarshal(patch, &a) != nil || json.Unmarshal([]byte(want), &b) != nil {
		return false
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// allowed is Allows for a patch (not nil) or a deletion of what exists.
func (s Scope) allowed(verb journal.Verb, r Ref, have *unstructured.Unstructured, patch []byte) error {
	if known, err := s.restored(verb, r, have, patch); known {
		return err
	}
	return s.Allows(r, existing(have), have.GetLabels())
}

// Within tells whether an object that the journal holds is inside a drill's scope: in its namespace, its own in Velero's, or
// cluster-scoped with the run ID in its name or made for it by others. before is the object as it was; nil when it was made.
func (s Scope) Within(r Ref, before *unstructured.Unstructured) bool {
	switch {
	case r.Namespace != "" && r.Namespace == s.Namespace:
		return true
	case r.Namespace != "" && r.Namespace == s.Velero:
		return veleroScoped[r.GVR.GroupResource()] && (strings.Contains(r.Name, s.Run) || before != nil && s.RestoreRecord(before))
	case r.Namespace != "":
		return false
	case strings.Contains(r.Name, s.Run):
		return true
	case before == nil:
		return false
	case r.GVR.Resource == "volumesnapshotcontents":
		return s.RestoredContent(before)
	case r.GVR.Resource == "persistentvolumes":
		return s.OwnVolume(before)
	}
	return false
}
