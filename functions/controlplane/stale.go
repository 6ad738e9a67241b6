package controlplane

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/journal"
	"fallbackchain.io/fallback/shared/volume"
)

// observedFor bounds the wait until the StatefulSet's controller has seen its new template.
const observedFor = 10 * time.Second

// replaceStale deletes the pods that are not ready and were made from another template than the one that was just put back. The
// StatefulSet controller does not do it by itself under OrderedReady: it waits for the broken pod
// (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback). Ready pods are left to its
// rolling update.
func (w *work) replaceStale(ctx context.Context) error {
	if w.ch.DryRun {
		return nil
	}
	name := w.s.Plan.Spec.Workload.StatefulSet
	var revision string
	wait, cancel := context.WithTimeout(ctx, observedFor)
	defer cancel()
	ok, err := w.s.Cluster.WaitFor(wait, 0, []cluster.Source{{GVR: cluster.StatefulSets, Namespace: w.s.Target()}}, func(ctx context.Context) (bool, error) {
		s, err := cluster.Get[appsv1.StatefulSet](ctx, w.s.Cluster, cluster.StatefulSets, w.s.Target(), name)
		if err != nil {
			return false, cluster.Fault("read StatefulSet "+name, err)
		}
		revision = s.Status.UpdateRevision
		return s.Status.ObservedGeneration >= s.Generation, nil
	})
	if err != nil {
		return err
	}
	if !ok {
		w.foundf("the StatefulSet's controller has not seen the new template within %s; pods of the old one were left", observedFor)
		return nil
	}
	f, err := volume.ReadWorkload(ctx, w.s.Cluster, w.s.Target(), name)
	if err != nil {
		return err
	}
	for _, p := range stale(f.Pods, revision) {
		ref := change.Ref{GVR: cluster.Pods, Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		if err := w.ch.Delete(ctx, ref, change.DeleteOptions{Undo: journal.UndoNothing},
			"it is not ready and of the template that was replaced; the StatefulSet makes it again"); err != nil {
			return err
		}
		w.didf("deleted %s of the replaced template", ref)
	}
	return nil
}

// stale are the pods that are neither ready nor of the revision.
func stale(pods []corev1.Pod, revision string) []corev1.Pod {
	var out []corev1.Pod
	for _, p := range pods {
		if p.DeletionTimestamp == nil && !volume.PodReady(&p) && p.Labels[appsv1.ControllerRevisionHashLabelKey] != revision {
			out = append(out, p)
		}
	}
	return out
}
