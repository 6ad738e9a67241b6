package assess

import (
	"fmt"
	"slices"
	"strings"

	"fallbackchain.io/fallback/shared/scheduling"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

func is(status signal.Status, reason, message string, evidence ...string) signal.Signal {
	return signal.Signal{Status: status, Reason: reason, Message: message, Evidence: evidence}
}

// signals judges the readings.
func (r *readings) signals(s *step.Session) signal.Set {
	set := signal.Set{
		signal.APIServerReady:       r.apiServer(),
		signal.InventoryVerified:    r.inventory.Signal(),
		signal.EtcdSnapshotVerified: r.etcd,
	}
	if source := source(s); source != "" {
		v := set[signal.InventoryVerified]
		v.Evidence = append(v.Evidence, source)
		for _, f := range r.inventory.Findings {
			v.Evidence = append(v.Evidence, f.String())
		}
		set[signal.InventoryVerified] = v
	}
	storage := []signal.Name{signal.CSIDriverHealthy, signal.CSIDriverSupported, signal.VolumesAttached, signal.PVCsBound,
		signal.WorkloadReady, signal.SchedulingPossible}
	if err := firstError(r.factsErr, r.storageErr); err != nil {
		for _, n := range storage {
			set[n] = is(signal.Unknown, "NotReadable", err.Error())
		}
		return set
	}
	set[signal.CSIDriverHealthy] = r.driverHealthy(s.Plan.Spec.Volumes.Controller)
	set[signal.CSIDriverSupported] = r.driverSupported()
	set[signal.VolumesAttached] = r.attached()
	set[signal.PVCsBound] = r.bound()
	set[signal.WorkloadReady] = r.ready()
	set[signal.SchedulingPossible] = scheduled(scheduling.Judge(r.facts.Pods, r.facts.Nodes, r.events,
		s.Plan.Spec.Tiers.FailedSchedulingPersistence.D(), s.Now()), r.facts)
	return set
}

// source names where the inventory is.
func source(s *step.Session) string {
	i := s.Plan.Spec.Inventory
	switch {
	case i != nil && i.Manifests != nil:
		return "bundle " + i.Manifests.Path
	case i != nil && i.Velero != nil && s.Run.Backup != nil && s.Run.Backup.Name != "":
		return strings.TrimSuffix(i.Velero.Location, "/") + "/backups/" + s.Run.Backup.Name
	}
	return ""
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *readings) apiServer() signal.Signal {
	if r.readyz.Ready {
		return is(signal.True, "Ready", "/readyz says ok, Kubernetes "+r.version, "/readyz?verbose")
	}
	return is(signal.False, "NotReady", "/readyz fails: "+strings.Join(r.readyz.Failed, ", "), "/readyz?verbose")
}

// ready judges the pods themselves; the StatefulSet's counts are as old as its controller.
func (r *readings) ready() signal.Signal {
	f := r.facts
	at := "statefulset/" + f.Namespace + "/" + f.Name
	waiting := f.Waiting()
	switch {
	case f.StatefulSet == nil:
		return is(signal.False, "ObjectsMissing", waiting[0], at)
	case len(waiting) == 0:
		return is(signal.True, "Ready", fmt.Sprintf("all %d pods are ready", volume.Replicas(f.StatefulSet)), at)
	default:
		return is(signal.False, "NotReady", strings.Join(waiting, "; "), at)
	}
}

// attached judges VolumeAttachments. It is never an entry condition of a tier: mending it is what the volume tier is for.
func (r *readings) attached() signal.Signal {
	var bad, slow, evidence []string
	for _, t := range r.facts.Troubles() {
		switch {
		case t.Attachment != nil:
			evidence = append(evidence, "volumeattachment/"+t.Attachment.Name)
		case t.Node != "":
			evidence = append(evidence, "node/"+t.Node)
		case t.Volume != nil:
			evidence = append(evidence, "persistentvolume/"+t.Volume.Name)
		}
		switch t.Kind {
		case volume.Attaching, volume.Detaching:
			slow = append(slow, t.String())
		default:
			bad = append(bad, t.String())
		}
	}
	switch {
	case len(bad) > 0:
		kind, _, _ := strings.Cut(bad[0], ":")
		return is(signal.False, kind, strings.Join(append(bad, slow...), "; "), evidence...)
	case len(slow) > 0:
		return is(signal.False, "UnderWay", strings.Join(slow, "; "), evidence...)
	}
	n := 0
	for i := range r.facts.Attachments {
		n++
		evidence = append(evidence, "volumeattachment/"+r.facts.Attachments[i].Name)
	}
	if n == 0 {
		return is(signal.NotApplicable, "NothingToAttach", "no pod of the workload is on a node with a volume that is attached")
	}
	return is(signal.True, "Attached", fmt.Sprintf("%d attachments, all attached", n), evidence...)
}

// bound judges the claims. True when every claim is bound or rightly waits: for its first consumer, or to be made with its pod by
// the StatefulSet (nothing says that it ever existed). False with ObjectsMissing when there is neither a StatefulSet nor a
// claim, or when a claim that existed is gone; with ClassMissing when claims are Pending for want of a class.
func (r *readings) bound() signal.Signal {
	f := r.facts
	if f.StatefulSet == nil && len(f.Claims) == 0 {
		return is(signal.False, "ObjectsMissing", fmt.Sprintf("neither StatefulSet %s nor any claim of it exists in namespace %s", f.Name, f.Namespace))
	}
	names := f.WantedClaims(r.wanted.claimNames())
	if len(names) == 0 {
		return is(signal.NotApplicable, "NoClaims", "the StatefulSet uses no claims")
	}
	statuses := f.ClaimStatuses(names, r.wanted.claims, r.events)
	evidence := make([]string, len(statuses))
	for i, c := range statuses {
		evidence[i] = "persistentvolumeclaim/" + c.Name
	}
	if bad := volume.Unsettled(statuses); len(bad) > 0 {
		reason := string(bad[0].State)
		if bad[0].State == volume.Missing {
			reason = "ObjectsMissing"
		}
		return is(signal.False, reason, strings.Join(volume.Join(bad), "; "), evidence...)
	}
	waiting := slices.DeleteFunc(slices.Clone(statuses), func(c volume.ClaimStatus) bool { return c.State == volume.Bound })
	if len(waiting) > 0 {
		return is(signal.True, string(waiting[0].State), strings.Join(volume.Join(waiting), "; "), evidence...)
	}
	return is(signal.True, "Bound", fmt.Sprintf("all %d claims are bound", len(statuses)), evidence...)
}

// scheduled turns the verdict into a signal: False only for what is proven to be impossible, Unknown until it has persisted.
func scheduled(v scheduling.Verdict, f *volume.Facts) signal.Signal {
	evidence := []string{}
	if v.Pod != "" {
		evidence = append(evidence, "pod/"+f.Namespace+"/"+v.Pod)
	}
	switch v.State {
	case scheduling.Impossible:
		return is(signal.False, "SchedulingImpossible", v.String(), evidence...)
	case scheduling.NotYetPersistent:
		return is(signal.Unknown, "NotYetPersistent", v.String(), evidence...)
	case scheduling.Transient:
		return is(signal.True, "Transient", v.String(), evidence...)
	}
	if len(f.Pods) == 0 {
		return is(signal.Unknown, "NoPods", "the workload has no pods, so the scheduler has said nothing")
	}
	return is(signal.True, "Scheduled", v.String())
}
