package restore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// await waits until the restored claims are bound, by those that nothing binds, and every pod of the StatefulSet is ready; where Velero restores, first for Velero.
func await(ctx context.Context, s *step.Session) (run.Restore, error) {
	if s.Run.Restore == nil {
		return run.Restore{}, fault.Newf(fault.Internal, "await the restore", "it was not started")
	}
	out := *s.Run.Restore
	out.Rounds++
	slice, cancel := s.Slice(ctx, out.Deadline)
	defer cancel()
	began := s.Now()
	ns := out.Namespace
	sources := []cluster.Source{{GVR: cluster.Pods, Namespace: ns}, {GVR: cluster.PersistentVolumeClaims, Namespace: ns}, {GVR: cluster.StatefulSets, Namespace: ns}}
	w := &awaited{s: s, out: &out}
	if s.RestoredByVelero() {
		more, err := w.veleroSources(ctx)
		if err != nil {
			return out, err
		}
		sources = append(sources, more...)
	}
	ok, err := s.Cluster.WaitFor(slice, 0, sources, w.look)
	out.WaitedMS += s.Now().Sub(began).Milliseconds()
	switch {
	case err != nil:
		return out, cluster.Fault("wait for the restore into "+ns, err)
	case ok && w.failed != nil:
		out.Phase, out.Reason, out.Message = run.Failed, w.failed.reason, w.failed.message
		w.results(ctx)
	case ok:
		out.Phase, out.Reason = run.Succeeded, ""
		out.Message = "the restored claims are bound and the StatefulSet's pods are ready"
		if v := out.Velero; v != nil {
			out.Message = fmt.Sprintf("Velero's Restore %s is %s with %d warnings, %s", v.Name, v.Phase, v.Warnings, out.Message)
			if v.Warnings > 0 {
				w.results(ctx)
			}
		}
	case s.Over(out.Deadline):
		out.Phase, out.Reason = run.Failed, string(fault.BudgetExceeded)
		out.Message = fmt.Sprintf("not restored within %s: %s", s.Plan.Spec.Drill.RestoreBudget, few(w.waits))
		if v := out.Velero; v != nil && v.Warnings+v.Errors > 0 {
			w.results(ctx)
		}
	default:
		out.Phase, out.Message = run.Running, few(w.waits)
	}
	return out, nil
}

// awaited is one Await while it looks again and again.
type awaited struct {
	s   *step.Session
	out *run.Restore
	// waits is what is still waited for; failed is set when there is no point in waiting.
	waits  []string
	failed *failure
	// harmless tells that what Velero made was read back and does no harm.
	harmless bool
	// classes are the cluster's, read when they are first needed.
	classes *[]storagev1.StorageClass
}

type failure struct{ reason, message string }

// look tells whether everything is there, or cannot come any more.
func (w *awaited) look(ctx context.Context) (bool, error) {
	var waits []string
	if w.s.RestoredByVelero() {
		var err error
		if waits, err = w.velero(ctx); err != nil {
			w.waits = []string{err.Error()}
			return false, err
		}
		if w.failed != nil {
			return true, nil
		}
		if w.out.ObjectsAt == nil {
			w.waits = waits // the objects are on their way: there is nothing to be looked at
			return false, nil
		}
	}
	p, err := w.pending(ctx)
	if err != nil {
		w.waits = []string{err.Error()}
		return false, err
	}
	w.reached(&w.out.VolumesAt, len(p.claims) == 0)
	w.reached(&w.out.ScheduledAt, p.scheduled)
	w.reached(&w.out.ReadyAt, len(p.claims)+len(p.pods) == 0)
	w.waits = append(append(waits, p.claims...), p.pods...)
	return len(w.waits) == 0, nil
}

// reached writes down when something was first seen.
func (w *awaited) reached(at **time.Time, yes bool) {
	if yes && *at == nil {
		now := w.s.Now()
		*at = &now
	}
}

// progress is what is still waited for.
type progress struct {
	claims, pods []string
	// scheduled tells that every pod has its node.
	scheduled bool
}

// pending lists what is still waited for.
func (w *awaited) pending(ctx context.Context) (progress, error) {
	s, out := w.s, w.out
	var p progress
	claims, err := cluster.List[corev1.PersistentVolumeClaim](ctx, s.Cluster, cluster.PersistentVolumeClaims, out.Namespace, metav1.ListOptions{})
	if err != nil {
		return p, err
	}
	phase := map[string]corev1.PersistentVolumeClaimPhase{}
	for _, c := range claims {
		phase[c.Name] = c.Status.Phase
	}
	f, err := volume.ReadWorkload(ctx, s.Cluster, out.Namespace, s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return p, err
	}
	if f.StatefulSet == nil {
		return p, fault.Newf(fault.ObjectsMissing, "wait for the restore", "StatefulSet %s/%s is gone", out.Namespace, s.Plan.Spec.Workload.StatefulSet)
	}
	own := volume.ClaimNames(f.StatefulSet)
	for _, c := range own {
		if phase[c] != corev1.ClaimBound {
			p.claims = append(p.claims, fmt.Sprintf("claim %s is %s", c, orNot(string(phase[c]))))
		}
	}
	others, err := w.otherClaims(ctx, claims, own)
	if err != nil {
		return p, err
	}
	p.claims = append(p.claims, others...)
	p.pods = f.Waiting()
	node := map[string]string{}
	for i := range f.Pods {
		node[f.Pods[i].Name] = f.Pods[i].Spec.NodeName
	}
	p.scheduled = volume.Replicas(f.StatefulSet) > 0
	for i := range volume.Replicas(f.StatefulSet) {
		if node[f.StatefulSet.Name+"-"+strconv.Itoa(int(volume.Start(f.StatefulSet)+i))] == "" {
			p.scheduled = false
		}
	}
	return p, nil
}

func orNot(phase string) string {
	if phase == "" {
		return "not there"
	}
	return phase
}

func few(list []string) string {
	const most = 3
	text := ""
	for i, l := range run.Few(list, most, listRunes) {
		if i > 0 {
			text += "; "
		}
		text += l
	}
	if text == "" {
		return "nothing was read"
	}
	return text
}
