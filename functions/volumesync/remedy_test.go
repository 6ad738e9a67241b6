package volumesync

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/volume"
)

var now = time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)

const driver = "csi.example.com"

func attachment(name, pv, node string) storagev1.VolumeAttachment {
	return storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u"},
		Spec: storagev1.VolumeAttachmentSpec{NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv}}}
}

func deletingVolume(policy corev1.PersistentVolumeReclaimPolicy, finalizers ...string) corev1.PersistentVolume {
	return corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "v", UID: "uv", ResourceVersion: "7", Finalizers: finalizers, DeletionTimestamp: &metav1.Time{Time: now.Add(-time.Minute)}},
		Spec: corev1.PersistentVolumeSpec{PersistentVolumeReclaimPolicy: policy, ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: "data-pg-0", UID: "old"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver}}},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeReleased},
	}
}

func TestRemovable(t *testing.T) {
	const attacher = "external-attacher/csi-example-com"
	all := []string{attacher, pvProtection, "external-provisioner.volume.kubernetes.io/finalizer", "somebody.else/keeps"}
	claim := func(uid, onVolume string) []corev1.PersistentVolumeClaim {
		c := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-pg-0"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: onVolume}}
		c.UID = "new"
		if uid != "" {
			c.UID = "old"
		}
		return []corev1.PersistentVolumeClaim{c}
	}
	bound := deletingVolume(corev1.PersistentVolumeReclaimRetain, all...)
	bound.Status.Phase = corev1.VolumeBound
	alive := deletingVolume(corev1.PersistentVolumeReclaimRetain, all...)
	alive.DeletionTimestamp = nil
	free := deletingVolume(corev1.PersistentVolumeReclaimRetain, all...)
	free.Spec.ClaimRef = nil
	reserved := deletingVolume(corev1.PersistentVolumeReclaimRetain, all...)
	reserved.Spec.ClaimRef.UID = ""
	for _, tc := range []struct {
		name   string
		volume corev1.PersistentVolume
		facts  volume.Facts
		want   []string
	}{
		{"claim gone, nothing attached", deletingVolume(corev1.PersistentVolumeReclaimRetain, all...), volume.Facts{}, []string{attacher, pvProtection}},
		{"another claim has the name now", deletingVolume(corev1.PersistentVolumeReclaimRetain, all...), volume.Facts{Claims: claim("", "w")}, []string{attacher, pvProtection}},
		{"the claim is still that claim", deletingVolume(corev1.PersistentVolumeReclaimRetain, all...), volume.Facts{Claims: claim("old", "v")}, nil},
		{"the new claim asks for this volume", deletingVolume(corev1.PersistentVolumeReclaimRetain, all...), volume.Facts{Claims: claim("", "v")}, nil},
		{"attached to a node that exists", deletingVolume(corev1.PersistentVolumeReclaimRetain, all...),
			volume.Facts{Attachments: []storagev1.VolumeAttachment{attachment("va", "v", "a")}, Nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "a"}}}}, nil},
		{"attached to a node that is gone", deletingVolume(corev1.PersistentVolumeReclaimRetain, all...),
			volume.Facts{Attachments: []storagev1.VolumeAttachment{attachment("va", "v", "a")}}, []string{pvProtection}},
		{"another volume is attached", deletingVolume(corev1.PersistentVolumeReclaimRetain, all...),
			volume.Facts{Attachments: []storagev1.VolumeAttachment{attachment("va", "w", "a")}, Nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "a"}}}}, []string{attacher, pvProtection}},
		{"its data would be deleted", deletingVolume(corev1.PersistentVolumeReclaimDelete, all...), volume.Facts{}, []string{attacher}},
		{"bound", bound, volume.Facts{}, []string{attacher}},
		{"not being deleted", alive, volume.Facts{}, nil},
		{"never claimed", free, volume.Facts{}, nil},
		{"only reserved", reserved, volume.Facts{}, nil},
		{"another driver's attacher", deletingVolume(corev1.PersistentVolumeReclaimRetain, "external-attacher/other"), volume.Facts{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := removable(&tc.facts, &tc.volume); !cmp.Equal(got, tc.want) {
				t.Errorf("%q, expected %q", got, tc.want)
			}
		})
	}
}

func TestAttacherName(t *testing.T) {
	for in, want := range map[string]string{"ebs.csi.aws.com": "ebs-csi-aws-com", "a_b": "a-b", "x.": "x-X", "": ""} {
		if got := attacherName(in); got != want {
			t.Errorf("%q: %q, expected %q", in, got, want)
		}
	}
}

func TestRemedies(t *testing.T) {
	va := attachment("va", "v", "a")
	gone := volume.Trouble{Kind: volume.NodeGone, Node: "a", Pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pg-0"}}}}
	tainted, notReady := gone, gone
	tainted.Kind, notReady.Kind = volume.NodeOutOfService, volume.NodeNotReady
	stuck := deletingVolume(corev1.PersistentVolumeReclaimRetain, pvProtection)
	facts := &volume.Facts{Attachments: []storagev1.VolumeAttachment{va}}
	for _, tc := range []struct {
		name     string
		facts    *volume.Facts
		troubles []volume.Trouble
		want     []string
	}{
		{"nothing", facts, nil, nil},
		{"under way", facts, []volume.Trouble{{Kind: volume.Attaching, Attachment: &va}, {Kind: volume.Detaching, Attachment: &va}}, nil},
		{"a detach error is not ours to mend", facts, []volume.Trouble{{Kind: volume.DetachError, Attachment: &va}}, nil},
		{"attach error", facts, []volume.Trouble{{Kind: volume.AttachError, Attachment: &va}}, []string{"delete VolumeAttachment va (volume v, node a)"}},
		{"node gone: the pod first", facts, []volume.Trouble{gone}, []string{"force-delete pod shop/pg-0 (node )", "delete VolumeAttachment va (volume v, node a)"}},
		{"node out of service", facts, []volume.Trouble{tainted}, []string{"force-delete pod shop/pg-0 (node )", "delete VolumeAttachment va (volume v, node a)"}},
		{"node only not ready", facts, []volume.Trouble{notReady}, nil},
		{"a volume that has just begun to go", &volume.Facts{}, []volume.Trouble{{Kind: volume.VolumeTerminating, Volume: &stuck, Since: now.Add(-time.Second)}}, nil},
		{"the least dangerous first", &volume.Facts{Attachments: []storagev1.VolumeAttachment{attachment("other", "w", "b"), va}},
			[]volume.Trouble{{Kind: volume.VolumeTerminating, Volume: ptr(deletingVolume(corev1.PersistentVolumeReclaimRetain, pvProtection)), Since: now.Add(-time.Minute)},
				gone, {Kind: volume.AttachError, Attachment: ptr(attachment("other", "w", "b"))}},
			[]string{"delete VolumeAttachment other (volume w, node b)", "force-delete pod shop/pg-0 (node )", "delete VolumeAttachment va (volume v, node a)",
				"remove finalizer kubernetes.io/pv-protection from PersistentVolume v"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, r := range Remedies(tc.facts, tc.troubles, 10*time.Second, now) {
				got = append(got, r.String())
			}
			if !cmp.Equal(got, tc.want) {
				t.Error(cmp.Diff(tc.want, got))
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestFinalizerPatch(t *testing.T) {
	v := deletingVolume(corev1.PersistentVolumeReclaimRetain, "somebody.else/keeps", pvProtection)
	b, err := finalizerPatch(&v, pvProtection)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": "uv"},
		{"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
		{"op": "test", "path": "/metadata/finalizers/1", "value": pvProtection},
		{"op": "remove", "path": "/metadata/finalizers/1"},
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if _, err := finalizerPatch(&v, "not/there"); err == nil {
		t.Error("a finalizer that is not there got a patch")
	}
}
