package controlplane

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/volume"
)

func TestRetained(t *testing.T) {
	at := time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)
	pv := func(name, claim string, phase corev1.PersistentVolumePhase, age time.Duration) corev1.PersistentVolume {
		return corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(at.Add(-age))},
			Spec:   corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: claim}},
			Status: corev1.PersistentVolumeStatus{Phase: phase}}
	}
	going := pv("going", "data-pg-0", corev1.VolumeReleased, 0)
	going.DeletionTimestamp = &metav1.Time{Time: at}
	for _, tc := range []struct {
		name    string
		volumes []corev1.PersistentVolume
		want    string
	}{
		{"none", nil, ""},
		{"released", []corev1.PersistentVolume{pv("a", "data-pg-0", corev1.VolumeReleased, 0)}, "a"},
		{"reserved", []corev1.PersistentVolume{pv("a", "data-pg-0", corev1.VolumeAvailable, 0)}, "a"},
		{"of another claim", []corev1.PersistentVolume{pv("a", "data-pg-1", corev1.VolumeReleased, 0)}, ""},
		{"bound", []corev1.PersistentVolume{pv("a", "data-pg-0", corev1.VolumeBound, 0)}, ""},
		{"failed: its data may be half gone", []corev1.PersistentVolume{pv("a", "data-pg-0", corev1.VolumeFailed, 0)}, ""},
		{"being deleted", []corev1.PersistentVolume{going}, ""},
		{"the newest", []corev1.PersistentVolume{pv("old", "data-pg-0", corev1.VolumeReleased, time.Hour), pv("new", "data-pg-0", corev1.VolumeReleased, 0), pv("older", "data-pg-0", corev1.VolumeReleased, 2*time.Hour)}, "new"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			if v := retained(&volume.Facts{Volumes: tc.volumes}, "data-pg-0"); v != nil {
				got = v.Name
			}
			if got != tc.want {
				t.Errorf("%q, expected %q", got, tc.want)
			}
		})
	}
}

func TestFitting(t *testing.T) {
	claim := func(size string, modes ...corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
		class := "new"
		c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, AccessModes: modes, Selector: &metav1.LabelSelector{}}}
		if size != "" {
			c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
		}
		return c
	}
	v := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{StorageClassName: "old", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}}}
	for _, tc := range []struct {
		name string
		like *corev1.PersistentVolumeClaim
		size string
	}{
		{"smaller than the volume", claim("1Gi", corev1.ReadWriteOnce), "1Gi"},
		{"larger than the volume", claim("5Gi", corev1.ReadWriteOnce), "2Gi"},
		{"no size", claim("", corev1.ReadWriteOnce), "2Gi"},
		{"a mode the volume lacks", claim("1Gi", corev1.ReadWriteOncePod), "1Gi"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := fitting(tc.like, v)
			size := got.Spec.Resources.Requests[corev1.ResourceStorage]
			if size.String() != tc.size || *got.Spec.StorageClassName != "old" || got.Spec.Selector != nil || !cmp.Equal(got.Spec.AccessModes, v.Spec.AccessModes) {
				t.Errorf("size %s class %s modes %v", size.String(), *got.Spec.StorageClassName, got.Spec.AccessModes)
			}
			if *tc.like.Spec.StorageClassName != "new" {
				t.Error("the template itself was changed")
			}
		})
	}
}

func TestLike(t *testing.T) {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "pg"}, Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "pg"}},
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data", Labels: map[string]string{"x": "y"}}}}}}
	own := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-pg-0"}}
	if got := like("data-pg-0", s, map[string]*corev1.PersistentVolumeClaim{"data-pg-0": own}); got != own {
		t.Error("the inventory's own claim was passed over")
	}
	if got := like("data-pg-1", s, nil); got == nil || !cmp.Equal(got.Labels, map[string]string{"app": "pg", "x": "y"}) {
		t.Errorf("%+v, expected the template with the labels of the selector", got)
	}
	if len(s.Spec.VolumeClaimTemplates[0].Labels) != 1 {
		t.Error("the template itself was changed")
	}
	if got := like("other-pg-1", s, nil); got != nil {
		t.Errorf("%+v, expected nothing for a claim of no template", got)
	}
	if got := like("data-pg-1", nil, nil); got != nil {
		t.Errorf("%+v, expected nothing without a StatefulSet", got)
	}
}

func TestSource(t *testing.T) {
	like, pv, snap := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}}, &run.Snapshot{Name: "s", Handle: "h"}
	for _, tc := range []struct {
		claim missingClaim
		want  string
	}{
		{missingClaim{like: like, retained: pv, snapshot: snap, handle: snap}, "its volume v was kept"},
		{missingClaim{like: like, snapshot: snap, handle: snap}, "from VolumeSnapshot s of 0001-01-01 00:00:00Z"},
		{missingClaim{like: like, handle: snap}, "from the inventory's snapshot h of 0001-01-01 00:00:00Z"},
		{missingClaim{like: like}, "no volume and no snapshot of it is left; the StatefulSet makes an empty one and the gate judges it"},
		{missingClaim{retained: pv}, "neither the inventory nor a template says what it looks like"},
	} {
		if got := tc.claim.source(); got != tc.want {
			t.Errorf("%q, expected %q", got, tc.want)
		}
	}
}

func TestStale(t *testing.T) {
	pod := func(name, revision string, ready corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: revision}},
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
	}
	leaving := pod("leaving", "old", corev1.ConditionFalse)
	leaving.DeletionTimestamp = &metav1.Time{}
	got := stale([]corev1.Pod{pod("broken", "old", corev1.ConditionFalse), pod("works", "old", corev1.ConditionTrue), pod("new", "new", corev1.ConditionFalse), leaving}, "new")
	if len(got) != 1 || got[0].Name != "broken" {
		t.Errorf("%+v, expected only the broken one of the old template", got)
	}
}
