package volumesync

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// settleFor bounds the wait for the attach/detach controller's next complaint.
const settleFor = 5 * time.Second

// settle waits for the moment at which a VolumeAttachment may be deleted without harm: right after the attach/detach controller
// has given an attempt up, which it tells by a FailedAttachVolume event. While it waits for an attachment it takes a missing one for one
// that its cache does not hold yet, and asks nobody again before two minutes are over (csi_attacher.go of
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/volume/csi, waitForVolumeAttachmentWithLister, csiTimeout).
// An attempt takes half a second and the pause between two doubles up to two minutes, so when no event comes within settleFor
// the controller is most likely in a pause.
func settle(ctx context.Context, s *step.Session, f *volume.Facts) error {
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	var before map[string]string
	_, err := s.Cluster.WaitFor(ctx, 0, []cluster.Source{{GVR: cluster.Events, Namespace: f.Namespace, Options: metav1.ListOptions{FieldSelector: failedAttach}}},
		func(ctx context.Context) (bool, error) {
			events, err := cluster.List[corev1.Event](ctx, s.Cluster, cluster.Events, f.Namespace, metav1.ListOptions{FieldSelector: failedAttach})
			if err != nil {
				return false, cluster.Fault("list the events of namespace "+f.Namespace, err)
			}
			now := map[string]string{}
			for _, e := range events {
				if slices.ContainsFunc(f.Pods, func(p corev1.Pod) bool { return p.UID == e.InvolvedObject.UID }) {
					now[e.Name] = e.ResourceVersion
				}
			}
			if before == nil {
				before = now
				return false, nil
			}
			for name, version := range now {
				if before[name] != version {
					return true, nil
				}
			}
			return false, nil
		})
	return err
}

// failedAttach selects the attach/detach controller's complaints.
const failedAttach = "reason=FailedAttachVolume"
