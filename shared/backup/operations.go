package backup

import (
	"io"
	"maps"
	"slices"
	"strings"
)

// itemOperation is one element of <backup>-itemoperations.json.gz
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/itemoperation/backup_operation.go).
type itemOperation struct {
	Spec struct {
		BackupItemAction   string               `json:"backupItemAction"`
		ResourceIdentifier resourceIdentifier   `json:"resourceIdentifier"`
		OperationID        string               `json:"operationID"`
		PostOperationItems []resourceIdentifier `json:"postOperationItems"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
		Error string `json:"error"`
	} `json:"status"`
}

// resourceIdentifier has no JSON names in Velero (pkg/plugin/velero/shared.go).
type resourceIdentifier struct{ Group, Resource, Namespace, Name string }

// item is where the object stands in the tarball.
func (r resourceIdentifier) item() item {
	it := item{resource: r.Resource, namespace: r.Namespace, name: r.Name}
	if r.Group != "" {
		it.resource += "." + r.Group
	}
	return it
}

// podVolumeBackup is one element of <backup>-podvolumebackups.json.gz.
type podVolumeBackup struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Pod struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"pod"`
		Volume string `json:"volume"`
	} `json:"spec"`
	Status struct {
		Phase      string `json:"phase"`
		SnapshotID string `json:"snapshotID"`
		Message    string `json:"message"`
	} `json:"status"`
}

// nativeSnapshot is one element of <backup>-volumesnapshots.json.gz
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/internal/volume/native_snapshot.go).
type nativeSnapshot struct {
	Spec struct {
		PersistentVolumeName string `json:"persistentVolumeName"`
	} `json:"spec"`
	Status struct {
		ProviderSnapshotID string `json:"providerSnapshotID"`
		Phase              string `json:"phase"`
	} `json:"status"`
}

// csiObject is an element of the lists of VolumeSnapshots, their contents and classes.
type csiObject struct {
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Status struct {
		ReadyToUse *bool `json:"readyToUse"`
		Error      *struct {
			Message string `json:"message"`
		} `json:"error"`
	} `json:"status"`
}

// result is what a backup met, as errors or warnings
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/util/results/result.go).
type result struct {
	Velero     []string            `json:"velero"`
	Cluster    []string            `json:"cluster"`
	Namespaces map[string][]string `json:"namespaces"`
}

// lines of the result, in a stable order.
func (r result) lines() []string {
	out := slices.Concat(r.Velero, r.Cluster)
	for _, ns := range slices.Sorted(maps.Keys(r.Namespaces)) {
		for _, l := range r.Namespaces[ns] {
			out = append(out, "namespace "+ns+": "+l)
		}
	}
	for i, l := range out {
		out[i] = strings.Join(strings.Fields(l), " ")
	}
	return out
}

// itemOperations checks that every operation ended well, and remembers what they added to the tarball.
func (v *verification) itemOperations(p part, r io.Reader) error {
	return eachElement(r, func(o itemOperation) {
		it := o.Spec.ResourceIdentifier.item()
		for _, post := range o.Spec.PostOperationItems {
			v.added[post.item()] = true
		}
		if o.Status.Phase != PhaseCompleted || o.Status.Error != "" {
			v.inNamespace(it.namespace, ReasonOperationFailed, p.key(v.name), "what it did for "+it.String()+" cannot be restored",
				"the operation %s of %s on %s is in phase %q%s, expected %s", o.Spec.OperationID, o.Spec.BackupItemAction, it, o.Status.Phase, colon(o.Status.Error), PhaseCompleted)
		}
	})
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

func (v *verification) podVolumeBackups(p part, r io.Reader) error {
	return eachElement(r, func(b podVolumeBackup) {
		if b.Status.Phase != PhaseCompleted || b.Status.SnapshotID == "" {
			v.inNamespace(b.Spec.Pod.Namespace, ReasonOperationFailed, p.key(v.name), "the volume's data is not in the backup",
				"the PodVolumeBackup %s of volume %s of pod %s/%s is in phase %q with the snapshot %q%s", b.Metadata.Name, b.Spec.Volume,
				b.Spec.Pod.Namespace, b.Spec.Pod.Name, b.Status.Phase, b.Status.SnapshotID, colon(b.Status.Message))
		}
	})
}

func (v *verification) volumeSnapshots(p part, r io.Reader) error {
	return eachElement(r, func(s nativeSnapshot) {
		if s.Status.Phase != PhaseCompleted || s.Status.ProviderSnapshotID == "" {
			v.wrong(ReasonOperationFailed, p.key(v.name), "the volume's data is not in the backup",
				"the snapshot %q of volume %s is in phase %q, expected %s", s.Status.ProviderSnapshotID, s.Spec.PersistentVolumeName, s.Status.Phase, PhaseCompleted)
		}
	})
}

func (v *verification) csiObjects(p part, r io.Reader) error {
	return eachElement(r, func(o csiObject) {
		at := item{namespace: o.Metadata.Namespace, name: o.Metadata.Name}.at()
		if o.Metadata.Name == "" {
			v.wrong(ReasonContent, p.key(v.name), p.means, "has an element without a name")
		}
		if p.kind == kindCSISnapshots && (o.Status.ReadyToUse == nil || !*o.Status.ReadyToUse || o.Status.Error != nil) {
			v.inNamespace(o.Metadata.Namespace, ReasonOperationFailed, p.key(v.name), "the volume's data is not in the backup", "the VolumeSnapshot %s was not ready to use", at)
		}
	})
}

// maxLines is how many of a backup's own errors and warnings are repeated.
const maxLines = 5

func (v *verification) results(p part, r io.Reader) error {
	var doc map[string]result
	if err := document(r, documentLimit, &doc); err != nil {
		return err
	}
	if doc == nil {
		return nil
	}
	if errs := doc["errors"].lines(); len(errs) > 0 {
		v.veleroErrors = errs
		for _, l := range errs[:min(len(errs), maxLines)] {
			v.warn(p.key(v.name), "what the error is about may be missing or incomplete in the backup", "the backup met the error: %s", l)
		}
	}
	if warnings := doc["warnings"].lines(); len(warnings) > 0 {
		for _, l := range warnings[:min(len(warnings), maxLines)] {
			v.note(p.key(v.name), "", "the backup met the warning: %s", l)
		}
	}
	return nil
}
