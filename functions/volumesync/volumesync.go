// Package volumesync is the tier VolumeAttachmentSync: it finds what stands between the workload's pods and their volumes, and
// does the least that mends it. From the least to the most dangerous:
//
//  1. Nothing, when an attach or a detach is simply under way, when only time or a person mends it (a detach error, a node that
//     is not ready and not proven down), or when a volume has been going away for less than the plan's stuckAfter.
//  2. Delete a VolumeAttachment that was never attached and carries an attachError. The attach/detach controller asks again
//     with a fresh one, which resets the attacher's backoff of up to minutes. Nothing was attached, so nothing is cut off.
//  3. For a node whose object does not exist, or one that is not ready and that somebody else has tainted
//     node.kubernetes.io/out-of-service: force-delete the workload's pods bound to it, then delete its VolumeAttachments.
//     Kubernetes does the same by itself after minutes (pod garbage collection, force detach). A node that is only not ready
//     is never acted upon, and this program never sets the taint: a machine that still writes would be a second writer.
//  4. Remove one named finalizer, external-attacher/<driver> or kubernetes.io/pv-protection, from a PersistentVolume that has
//     been being deleted for longer than stuckAfter, whose claimRef was this workload's claim and whose claim is gone or
//     is another one now, without any VolumeAttachment to a node that exists; pv-protection only where the reclaim policy is
//     Retain. The patch tests the object's resourceVersion and the finalizer at its index. The external-provisioner's
//     finalizer, which guards the data itself, is never touched, and a list of finalizers is never replaced.
//
// Start acts once and returns; Await only watches. Nothing of this is undone: controllers make pods and VolumeAttachments again,
// and a finalizer cannot be put back on an object that is going away; the journal has the before-images.
package volumesync

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/scheduling"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// Handler is the volumesync step.
type Handler struct{ Env *step.Env }

// Handle runs "start" or "await".
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Tier, error) {
	return step.Ops[run.Tier]{"start": start, "await": await}.Serve(ctx, h.Env, "volumesync", op, state, r)
}

// Bounds of the section's lists.
const (
	lines = 12
	width = 240
)

func start(ctx context.Context, s *step.Session) (run.Tier, error) {
	sec := run.Tier{Phase: run.Started}
	sec.Deadline = s.Deadline(s.Plan.Spec.Tiers.VolumeAttachmentSync.Budget)
	f, err := volume.Read(ctx, s.Cluster, s.Target(), s.Plan.Spec.Workload.StatefulSet)
	if err != nil {
		return sec, err
	}
	if err := qualifies(ctx, s, f); err != nil {
		return sec, err
	}
	found := f.Troubles()
	var lists struct{ found, done []string }
	for _, t := range found {
		lists.found = append(lists.found, t.String())
	}
	ch := s.Changer()
	remedies := Remedies(f, found, s.Plan.Spec.Tiers.VolumeAttachmentSync.StuckAfter.D(), s.Now())
	if s.Run.Mode != run.Drill && slices.ContainsFunc(remedies, func(r Remedy) bool { return r.Danger == resetAttachment }) {
		if err := settle(ctx, s, f); err != nil {
			return sec, err
		}
	}
	for _, r := range remedies {
		if s.Run.Mode == run.Drill && r.Act != ForceDeletePod {
			// A drill changes nothing that is cluster-scoped and not its own.
			lists.found = append(lists.found, "left in a drill: "+r.String())
			continue
		}
		done, err := apply(ctx, ch, r)
		if err != nil {
			return sec, err
		}
		if done {
			lists.done = append(lists.done, r.String())
		}
	}
	sec.Message = fmt.Sprintf("%d found, %d mended", len(lists.found), len(lists.done))
	sec.List(lists.found, lists.done)
	return sec, nil
}

// qualifies refuses what this tier cannot mend: missing objects, and pods that no node will ever take.
func qualifies(ctx context.Context, s *step.Session, f *volume.Facts) error {
	const op = "volumesync start"
	switch {
	case f.StatefulSet == nil:
		return fault.Newf(fault.ObjectsMissing, op, "StatefulSet %s/%s does not exist", f.Namespace, f.Name)
	case volume.Replicas(f.StatefulSet) == 0:
		return fault.Newf(fault.NotQualified, op, "StatefulSet %s/%s is scaled to zero, so nothing is to be attached", f.Namespace, f.Name)
	}
	var missing []string
	for _, c := range f.ClaimStatuses(volume.ClaimNames(f.StatefulSet), nil, nil) {
		if c.State == volume.Missing || c.State == volume.Lost || c.State == volume.ClassMissing {
			missing = append(missing, c.String())
		}
	}
	if len(missing) > 0 {
		return fault.Newf(fault.ObjectsMissing, op, "%s", strings.Join(run.Few(missing, lines, width), "; "))
	}
	v, err := judge(ctx, s, f)
	if err != nil {
		return err
	}
	if v.State == scheduling.Impossible {
		return fault.Newf(fault.SchedulingImpossible, op, "%s", v)
	}
	return nil
}

// judge asks what the scheduler says; without a pod that waits for a node nothing more is read.
func judge(ctx context.Context, s *step.Session, f *volume.Facts) (scheduling.Verdict, error) {
	return scheduling.Read(ctx, s.Cluster, f, s.Plan.Spec.Tiers.FailedSchedulingPersistence.D(), s.Now())
}

// again is how often at least the wait is evaluated: the persistence of a FailedScheduling passes without an event.
const again = 5 * time.Second

func await(ctx context.Context, s *step.Session) (run.Tier, error) {
	if s.Run.VolumeSync == nil {
		return run.Tier{}, fault.New(fault.Internal, "volumesync await: the run has no volumesync section, so start was never called", nil)
	}
	sec := *s.Run.VolumeSync
	started := s.Now()
	sec.Rounds++
	slice, cancel := s.Slice(ctx, sec.Deadline)
	defer cancel()
	ns := s.Target()
	var verdict scheduling.Verdict
	var waiting []string
	_, err := s.Cluster.WaitFor(slice, again, []cluster.Source{
		{GVR: cluster.Pods, Namespace: ns}, {GVR: cluster.StatefulSets, Namespace: ns},
		{GVR: cluster.VolumeAttachments}, {GVR: cluster.Events, Namespace: ns},
	}, func(ctx context.Context) (bool, error) {
		var err error
		waiting, verdict, err = look(ctx, s)
		return err == nil && (len(waiting) == 0 || verdict.State == scheduling.Impossible), err
	})
	sec.WaitedMS += s.Now().Sub(started).Milliseconds()
	if err != nil {
		return sec, err
	}
	switch {
	case waiting != nil && len(waiting) == 0:
		sec.Phase, sec.Reason, sec.Message = run.Succeeded, "", "every pod is ready and has its volumes attached"
	case verdict.State == scheduling.Impossible:
		sec.Phase, sec.Reason, sec.Message = run.Failed, string(fault.SchedulingImpossible), run.Short(verdict.String(), width)
	case s.Over(sec.Deadline):
		sec.Phase, sec.Reason = run.Failed, string(fault.BudgetExceeded)
		sec.Message = "the budget is over: " + strings.Join(run.Few(orUnread(waiting), 4, width), "; ")
	default:
		sec.Phase, sec.Message = run.Running, strings.Join(run.Few(orUnread(waiting), 4, width), "; ")
	}
	return sec, nil
}

func orUnread(waiting []string) []string {
	if len(waiting) == 0 {
		return []string{"the cluster could not be read"}
	}
	return waiting
}

// look says what is still waited for; an empty list that is not nil means nothing. Attachments are read only when the pods are ready, for
// a pod whose volume is not attached is not.
func look(ctx context.Context, s *step.Session) ([]string, scheduling.Verdict, error) {
	name := s.Plan.Spec.Workload.StatefulSet
	f, err := volume.ReadWorkload(ctx, s.Cluster, s.Target(), name)
	if err != nil {
		return nil, scheduling.Verdict{}, err
	}
	if waiting := f.Waiting(); len(waiting) > 0 {
		v, err := judge(ctx, s, f)
		return waiting, v, err
	}
	if f, err = volume.Read(ctx, s.Cluster, s.Target(), name); err != nil {
		return nil, scheduling.Verdict{}, err
	}
	waiting := append([]string{}, f.Waiting()...)
	for _, t := range f.Troubles() {
		if t.Kind == volume.Attaching || t.Kind == volume.AttachError {
			waiting = append(waiting, t.String())
		}
	}
	return waiting, scheduling.Verdict{}, nil
}
