package nodeagent

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

func claim(phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "shop"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}, Status: corev1.PersistentVolumeClaimStatus{Phase: phase}}
}

func pv(src corev1.PersistentVolumeSource) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: src}}
}

func csiVolume(handle string) *corev1.PersistentVolume {
	return pv(corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d.example", VolumeHandle: handle}})
}

func attachment(volume, node string, attached bool) *storagev1.VolumeAttachment {
	return &storagev1.VolumeAttachment{TypeMeta: metav1.TypeMeta{APIVersion: "storage.k8s.io/v1", Kind: "VolumeAttachment"},
		ObjectMeta: metav1.ObjectMeta{Name: "csi-" + volume + node}, Spec: storagev1.VolumeAttachmentSpec{NodeName: node,
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}}, Status: storagev1.VolumeAttachmentStatus{Attached: attached}}
}

// TestAPodWaitsForItsVolume: nothing is started before every volume is attached to the pod's own node.
func TestAPodWaitsForItsVolume(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop"}, Spec: corev1.PodSpec{NodeName: "node-a", Volumes: []corev1.Volume{
		{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
	}}}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		waiting string
	}{
		"no claim":           {nil, "claim data is not bound"},
		"pending claim":      {[]runtime.Object{claim(corev1.ClaimPending), csiVolume("vol-1"), attachment("pv", "node-a", true)}, "claim data is not bound"},
		"no volume":          {[]runtime.Object{claim(corev1.ClaimBound)}, "volume pv is not there"},
		"not attached":       {[]runtime.Object{claim(corev1.ClaimBound), csiVolume("vol-1")}, "not attached to node node-a"},
		"being attached":     {[]runtime.Object{claim(corev1.ClaimBound), csiVolume("vol-1"), attachment("pv", "node-a", false)}, "not attached to node node-a"},
		"attached elsewhere": {[]runtime.Object{claim(corev1.ClaimBound), csiVolume("vol-1"), attachment("pv", "node-b", true)}, "not attached to node node-a"},
		"another's":          {[]runtime.Object{claim(corev1.ClaimBound), csiVolume("vol-1"), attachment("other", "node-a", true)}, "not attached to node node-a"},
		"not CSI":            {[]runtime.Object{claim(corev1.ClaimBound), pv(corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}})}, "not a CSI volume"},
		"handle with a path": {[]runtime.Object{claim(corev1.ClaimBound), csiVolume("../etc"), attachment("pv", "node-a", true)}, "expected a directory's name"},
		"attached":           {[]runtime.Object{claim(corev1.ClaimBound), csiVolume("vol-1"), attachment("pv", "node-a", true)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := newView(fake.NewSimpleDynamicClient(clientscheme.Scheme, tc.objects...), func() {})
			if err := v.start(t.Context()); err != nil {
				t.Fatal(err)
			}
			vols, waiting := v.volumes(pod)
			if tc.waiting != "" {
				if !strings.Contains(waiting, tc.waiting) || vols != nil {
					t.Errorf("waits for %q with %v, want %q", waiting, vols, tc.waiting)
				}
				return
			}
			want := volume{name: "data", handle: "vol-1", unique: "kubernetes.io/csi/d.example^vol-1"}
			if waiting != "" || len(vols) != 1 || vols[0] != want {
				t.Errorf("volumes %+v (waits for %q), want %+v", vols, waiting, want)
			}
		})
	}
}
