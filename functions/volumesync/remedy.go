package volumesync

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/volume"
)

// Act is what a remedy does.
type Act string

const (
	DeleteAttachment Act = "delete VolumeAttachment"
	ForceDeletePod   Act = "force-delete pod"
	RemoveFinalizer  Act = "remove finalizer"
)

// The danger of a remedy, as the package comment counts.
const (
	resetAttachment = 2
	leaveNode       = 3
	dropFinalizer   = 4
)

// Remedy is one change to one object.
type Remedy struct {
	Act Act
	// Danger orders the remedies.
	Danger     int
	Attachment *storagev1.VolumeAttachment
	Pod        *corev1.Pod
	Volume     *corev1.PersistentVolume
	Finalizer  string
	Why        string
}

func (r Remedy) String() string {
	switch r.Act {
	case DeleteAttachment:
		return fmt.Sprintf("%s %s (volume %s, node %s)", r.Act, r.Attachment.Name, *r.Attachment.Spec.Source.PersistentVolumeName, r.Attachment.Spec.NodeName)
	case ForceDeletePod:
		return fmt.Sprintf("%s %s/%s (node %s)", r.Act, r.Pod.Namespace, r.Pod.Name, r.Pod.Spec.NodeName)
	default:
		return fmt.Sprintf("%s %s from PersistentVolume %s", r.Act, r.Finalizer, r.Volume.Name)
	}
}

// Remedies chooses what to do about the troubles, in order of danger; within a node pods come before attachments. What waiting or a
// person must mend has no remedy.
func Remedies(f *volume.Facts, troubles []volume.Trouble, stuckAfter time.Duration, now time.Time) []Remedy {
	var out []Remedy
	for i := range troubles {
		t := &troubles[i]
		switch t.Kind {
		case volume.AttachError:
			out = append(out, Remedy{Act: DeleteAttachment, Danger: resetAttachment, Attachment: t.Attachment, Why: t.Message})
		case volume.NodeGone, volume.NodeOutOfService:
			for j := range t.Pods {
				out = append(out, Remedy{Act: ForceDeletePod, Danger: leaveNode, Pod: &t.Pods[j], Why: t.Message})
			}
			for _, a := range f.AttachmentsOn(t.Node) {
				out = append(out, Remedy{Act: DeleteAttachment, Danger: leaveNode, Attachment: &a, Why: t.Message})
			}
		case volume.VolumeTerminating:
			if now.Sub(t.Since) < stuckAfter {
				continue
			}
			for _, name := range removable(f, t.Volume) {
				out = append(out, Remedy{Act: RemoveFinalizer, Danger: dropFinalizer, Volume: t.Volume, Finalizer: name, Why: t.Message})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Remedy) int { return a.Danger - b.Danger })
	return out
}

// pvProtection keeps a volume that is bound from going away
// (https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection).
const pvProtection = "kubernetes.io/pv-protection"

// removable are the finalizers of a deleting volume that hold it for nothing. It fails closed: a volume whose claim is still
// that claim, or that is attached to a node that exists, keeps all of them.
func removable(f *volume.Facts, v *corev1.PersistentVolume) []string {
	ref := v.Spec.ClaimRef
	if v.DeletionTimestamp == nil || ref == nil || ref.UID == "" {
		return nil
	}
	if c := f.Claim(ref.Name); c != nil && (c.UID == ref.UID || c.Spec.VolumeName == v.Name) {
		return nil
	}
	attached := false
	for _, a := range f.Attachments {
		if *a.Spec.Source.PersistentVolumeName != v.Name {
			continue
		}
		attached = true
		if f.Node(a.Spec.NodeName) != nil {
			return nil
		}
	}
	var out []string
	for _, name := range v.Finalizers {
		switch {
		case name == "external-attacher/"+attacherName(volume.DriverOfVolume(v)) && !attached:
			out = append(out, name)
		case name == pvProtection && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain && v.Status.Phase != corev1.VolumeBound:
			out = append(out, name)
		}
	}
	return out
}

// attacherName is how the external-attacher writes a driver's name into its finalizer: everything but letters, digits and dashes becomes
// a dash, and an X follows a last dash (https://github.com/kubernetes-csi/external-attacher/blob/v4.12.0/pkg/controller/util.go, SanitizeDriverName).
func attacherName(driver string) string {
	b := []byte(driver)
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			b[i] = '-'
		}
	}
	if len(b) > 0 && b[len(b)-1] == '-' {
		b = append(b, 'X')
	}
	return string(b)
}

// apply makes one change. done is false when it was made already, or when the object is gone or another one.
func apply(ctx context.Context, ch *change.Changer, r Remedy) (done bool, err error) {
	switch r.Act {
	case DeleteAttachment:
		if r.Attachment.DeletionTimestamp != nil {
			return false, nil
		}
		ref := change.Ref{GVR: cluster.VolumeAttachments, Kind: "VolumeAttachment", Name: r.Attachment.Name, UID: r.Attachment.UID}
		return true, ch.Delete(ctx, ref, change.DeleteOptions{Undo: journal.UndoNothing},
			r.Why+"; the attach/detach controller makes a fresh one where a pod needs it")
	case ForceDeletePod:
		ref := change.Ref{GVR: cluster.Pods, Kind: "Pod", Namespace: r.Pod.Namespace, Name: r.Pod.Name, UID: r.Pod.UID}
		return true, ch.Delete(ctx, ref, change.DeleteOptions{Force: true, Undo: journal.UndoNothing},
			r.Why+"; the StatefulSet makes the pod again")
	case RemoveFinalizer:
		return removeFinalizer(ctx, ch, r)
	}
	return false, fault.Newf(fault.Internal, "volumesync", "remedy %q is unknown", r.Act)
}

// removeFinalizer removes exactly the one finalizer, and only while the object is the one that was judged. A conflict is not an
// error of the tier: somebody else has changed the volume in the meantime, most likely its own controller.
func removeFinalizer(ctx context.Context, ch *change.Changer, r Remedy) (bool, error) {
	patch, err := finalizerPatch(r.Volume, r.Finalizer)
	if err != nil {
		return false, fault.New(fault.Internal, "remove finalizer "+r.Finalizer, err)
	}
	ref := change.Ref{GVR: cluster.PersistentVolumes, Kind: "PersistentVolume", Name: r.Volume.Name, UID: r.Volume.UID}
	after, err := ch.Patch(ctx, ref, types.JSONPatchType, patch, "", r.Why+"; nothing is attached and the claim is gone", journal.UndoNothing)
	if f := fault.From(err); f != nil && (f.Code == fault.ObjectsMissing || f.Code == fault.Conflict || f.Code == fault.NotQualified) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// The next finalizer of the same volume is tested against what this patch left.
	v, err := cluster.Decode[corev1.PersistentVolume](after)
	if err != nil {
		return true, fault.New(fault.Internal, "decode PersistentVolume "+r.Volume.Name, err)
	}
	*r.Volume = *v
	return true, nil
}

// finalizerPatch is a JSON patch (RFC 6902) that tests UID, resourceVersion and the finalizer at its index before it removes it.
func finalizerPatch(v *corev1.PersistentVolume, name string) ([]byte, error) {
	i := slices.Index(v.Finalizers, name)
	if i < 0 {
		return nil, fmt.Errorf("PersistentVolume %s has no finalizer %s", v.Name, name)
	}
	type op struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	at := fmt.Sprintf("/metadata/finalizers/%d", i)
	return json.Marshal([]op{
		{"test", "/metadata/uid", string(v.UID)},
		{"test", "/metadata/resourceVersion", v.ResourceVersion},
		{"test", at, name},
		{"remove", at, nil},
	})
}
