// Package controlplane is the tier ControlPlaneReconcile: it brings back what the inventory holds and the cluster does not.
//
// The inventory is verified again at the moment of use, digest by digest. Each of its objects is missing, changed or the same;
// what the cluster has besides is extra, and only reported. Missing objects are applied server-side in order of dependency:
// namespaces, classes and drivers, accounts and roles, secrets and configuration, claims, services, the CSI controller's
// Deployment, the StatefulSet. An object that exists is never written over, unless the plan says overwrite; when nothing
// is missing and a difference is in what keeps the workload from running, the tier refuses (OverwriteRefused) and
// names the objects and fields. Claims are never made from their manifests alone, see claims.go.
//
// Thousands of objects take longer than one call: what start could not make in its slice, await makes, before it waits.
//
// In a drill only what the restore brings is brought back, as harmless as it makes it, and nothing that is cluster-scoped.
package controlplane

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/scheduling"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
)

// Handler is the controlplane step.
type Handler struct{ Env *step.Env }

// width is the most runes of a line in a message.
const width = 220

// Handle runs "start" or "await".
func (h *Handler) Handle(ctx context.Context, op, state string, r run.Run) (run.Tier, error) {
	return step.Ops[run.Tier]{"start": start, "await": await}.Serve(ctx, h.Env, "controlplane", op, state, r)
}

func start(ctx context.Context, s *step.Session) (run.Tier, error) {
	sec := run.Tier{Phase: run.Started}
	sec.Deadline = s.Deadline(s.Plan.Spec.Tiers.ControlPlaneReconcile.Budget)
	slice, cancel := s.Slice(ctx, sec.Deadline)
	defer cancel()
	if s.Run.DryRun {
		slice = ctx // nothing follows a dry run's start
	}
	w, compared, err := reconcile(ctx, slice, s, false)
	if err != nil {
		return sec, err
	}
	sec.Message = fmt.Sprintf("%d objects of the inventory compared: %s", compared, w.counts())
	sec.Made, sec.ToMake = len(w.done), w.left
	if w.left > 0 {
		sec.Message += fmt.Sprintf("; %d are still to be made", w.left)
	}
	sec.List(w.found, w.done)
	return sec, nil
}

// reconcile brings back what can be brought back until slice ends. again: an earlier call began it.
func reconcile(ctx, slice context.Context, s *step.Session, again bool) (*work, int, error) {
	bundle, err := verified(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = bundle.Close() }()
	objects, findings := bundle.Objects(ctx)
	if len(findings) > 0 {
		return nil, 0, fault.Newf(fault.InventoryBroken, "read the inventory", "%s", findings[0])
	}
	w := &work{s: s, ch: s.Changer(), bundle: bundle, slice: slice, again: again}
	return w, len(objects), w.reconcile(ctx, objects)
}

// verified opens the inventory and verifies it against the cluster that answers now.
func verified(ctx context.Context, s *step.Session) (*inventory.Bundle, error) {
	const op = "verify the inventory before it is used"
	b, result, err := s.VerifiedInventory(ctx)
	if err == nil && result.Status == signal.True {
		return b, nil
	}
	if b != nil {
		_ = b.Close()
	}
	switch {
	case err != nil:
		return nil, err
	case result.Status == signal.NotApplicable:
		return nil, fault.Newf(fault.NotQualified, op, "%s", result.Message)
	}
	return nil, fault.Newf(fault.InventoryBroken, op, "%s: %s", result.Reason, result.Message)
}

// again is how often at least the wait is evaluated: the persistence of a FailedScheduling passes without an event.
const again = 5 * time.Second

func await(ctx context.Context, s *step.Session) (run.Tier, error) {
	if s.Run.ControlPlane == nil {
		return run.Tier{}, fault.New(fault.Internal, "controlplane await: the run has no controlplane section, so start was never called", nil)
	}
	sec := *s.Run.ControlPlane
	sec.Rounds++
	slice, cancel := s.Slice(ctx, sec.Deadline)
	defer cancel()
	if sec.ToMake > 0 {
		w, _, err := reconcile(ctx, slice, s, true)
		if err != nil {
			return sec, err
		}
		sec.Made, sec.ToMake = sec.Made+len(w.done), w.left
	}
	if sec.ToMake > 0 {
		return unfinished(s, sec), nil
	}
	started := s.Now()
	ns := s.Target()
	sources := []cluster.Source{
		{GVR: cluster.Pods, Namespace: ns}, {GVR: cluster.StatefulSets, Namespace: ns},
		{GVR: cluster.PersistentVolumeClaims, Namespace: ns}, {GVR: cluster.Events, Namespace: ns},
	}
	if d := s.Plan.Spec.Volumes.Controller; d != nil {
		sources = append(sources, cluster.Source{GVR: cluster.Deployments, Namespace: d.Namespace})
	}
	var st standing
	_, err := s.Cluster.WaitFor(slice, again, sources, func(ctx context.Context) (bool, error) {
		var err error
		st, err = look(ctx, s)
		return err == nil && (st.ready() || st.verdict.State == scheduling.Impossible), err
	})
	sec.WaitedMS += s.Now().Sub(started).Milliseconds()
	if err != nil {
		return sec, err
	}
	switch {
	case st.ready():
		sec.Phase, sec.Reason, sec.Message = run.Succeeded, "", "the driver's controller is available, every claim is bound and every pod is ready"
	case st.verdict.State == scheduling.Impossible:
		sec.Phase, sec.Reason, sec.Message = run.Failed, string(fault.SchedulingImpossible), run.Short(st.verdict.String(), width)
	case s.Over(sec.Deadline):
		sec.Phase, sec.Reason = run.Failed, string(fault.BudgetExceeded)
		sec.Message = "the budget is over: " + st.String()
	default:
		sec.Phase, sec.Message = run.Running, st.String()
	}
	return sec, nil
}

// unfinished is a section whose slice was over before everything was made.
func unfinished(s *step.Session, sec run.Tier) run.Tier {
	sec.Phase, sec.Message = run.Running, fmt.Sprintf("%d objects were made, %d are still to be made", sec.Made, sec.ToMake)
	if s.Over(sec.Deadline) {
		sec.Phase, sec.Reason, sec.Message = run.Failed, string(fault.BudgetExceeded), "the budget is over: "+sec.Message
	}
	return sec
}

// standing is what is still waited for.
type standing struct {
	read    bool
	waiting []string
	verdict scheduling.Verdict
}

func (s standing) ready() bool { return s.read && len(s.waiting) == 0 }

func (s standing) String() string {
	if !s.read {
		return "the cluster could not be read"
	}
	return strings.Join(run.Few(s.waiting, 4, width), "; ")
}
