package backup

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/lease"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/rehearsal"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
	"fallbackchain.io/fallback/shared/volume"
)

// rehearse tells what the restore of the run's backup would meet on its target, before anything is created.
func (h *Handler) rehearse(ctx context.Context, s *step.Session) (run.Rehearsal, error) {
	if !applies(s) {
		return run.Rehearsal{Phase: run.NotApplicable, Message: "the plan's inventory is no Velero backup"}, nil
	}
	out := run.Rehearsal{Target: s.Target()}
	if s.Run.Rehearsal != nil {
		out.Waiting = s.Run.Rehearsal.Waiting
	}
	out.Rounds++
	slice, cancel := context.WithTimeout(ctx, cluster.Slice)
	defer cancel()
	in, notes, err := h.input(slice, s)
	if err != nil {
		return out, err
	}
	var res rehearsal.Result
	if in.Backup != "" {
		if res, err = rehearsal.Rehearse(slice, in); err != nil {
			return out, err
		}
	}
	out.Asked, out.AskedIn = res.Asked, res.AskedIn
	out.Findings = slices.Concat(notes, res.Findings)
	return verdict(out, s.Plan.Spec.Inventory.Velero.Rehearsal), nil
}

// verdict decides by the plan's policy, and cuts the section to its size.
func verdict(out run.Rehearsal, policy plan.RehearsalPolicy) run.Rehearsal {
	all := run.Pressing(out.Findings)
	stops, warnings := 0, 0
	for _, f := range all {
		switch f.Severity {
		case run.Stop:
			stops++
		case run.Warning:
			warnings++
		}
	}
	out.Phase = run.Passed
	out.Message = fmt.Sprintf("%d findings that stop a restore, %d warnings; the API server was asked about %d objects", stops, warnings, out.Asked)
	if stops > 0 {
		out.Message = says(all[0].Subject+": "+all[0].Problem, out.Message)
		if policy == plan.RehearsalStops {
			out.Phase, out.Reason = run.Refused, "RehearsalFailed"
		}
	}
	out.Message = run.Short(out.Message, 2*textRunes)
	for n, width := findingItems, textRunes; ; n, width = n*3/4, width*3/4 {
		out.Findings = run.FewFindings(all, n, width)
		if n <= 1 || run.Fits(out) {
			return out
		}
	}
}

// input is the restore that the mode would make. It names no backup when there is none to read.
func (h *Handler) input(ctx context.Context, s *step.Session) (in rehearsal.Input, notes []run.Finding, err error) {
	w, v := s.Plan.Spec.Workload, *s.Plan.Spec.Inventory.Velero
	in = rehearsal.Input{
		Cluster: s.Cluster, Drill: s.Run.Mode == run.Drill, Evaluate: s.Run.Mode == run.Evaluate, Run: s.Run.ID, Namespace: w.Namespace, Target: s.Target(), Spare: lease.Namespace,
		Velero: v, Now: s.Now(),
	}
	if e := s.Plan.Spec.Cluster.EKS; e != nil {
		in.Region = e.Region
	}
	none := func(problem string) (rehearsal.Input, []run.Finding, error) {
		return in, append(notes, run.Finding{Severity: run.Stop, Subject: "the backup", Problem: problem, Means: "there is nothing to restore from"}), nil
	}
	b, verified, err := s.VerifiedInventory(ctx)
	switch {
	case err != nil:
		return in, nil, err
	case b == nil:
		return none(verified.Reason + ": " + verified.Message)
	}
	defer b.Close()
	if verified.Status != signal.True {
		// Said, and gone on with: a backup that is too old by now still shows what else is wrong.
		notes = append(notes, run.Finding{Severity: run.Stop, Subject: "backup " + s.Run.Backup.Name, Problem: verified.Reason + ": " + verified.Message,
			Means: "the restore refuses it"})
	}
	contents, err := s.Contents(ctx)
	if err != nil {
		return in, nil, err
	}
	objects, broken := b.Objects(ctx)
	if len(broken) > 0 {
		return none(broken[0].String())
	}
	in.Backup, in.KubernetesVersion, in.Volumes = contents.Name, contents.KubernetesVersion, ofNamespace(contents, w.Namespace)
	for _, o := range contents.Objects {
		if o.GetKind() == "PersistentVolume" {
			in.PersistentVolumes = append(in.PersistentVolumes, o)
		}
	}
	required, more := workload(objects, w.Namespace, w.StatefulSet, in.Target)
	in.Required, notes = required, append(notes, more...)
	notes = append(notes, hooks(contents.Objects, w.Namespace)...)
	in.Objects = wanted(objects, in.Drill, w.Namespace, in.Target)
	return in, notes, nil
}

// workload are the claims that the workload's StatefulSet uses, and why a drill would refuse to restore it.
func workload(objects []*unstructured.Unstructured, namespace, name, target string) (claims []string, stops []run.Finding) {
	stop := func(problem string) []run.Finding {
		return []run.Finding{{Severity: run.Stop, Subject: "StatefulSet " + name, Problem: problem, Means: "a drill refuses the backup: its workload cannot be restored"}}
	}
	for _, o := range objects {
		if o.GetKind() != "StatefulSet" || o.GetNamespace() != namespace || o.GetName() != name {
			continue
		}
		st, err := cluster.Decode[appsv1.StatefulSet](o)
		if err != nil {
			return nil, stop("cannot be read: " + err.Error())
		}
		if _, why := restore.Neutralise(o, namespace, target); why != "" {
			stops = stop(why)
		}
		return volume.ClaimNames(st), stops
	}
	return nil, stop("is not in the backup")
}

func ofNamespace(c *backup.Contents, namespace string) []run.BackupVolume {
	var out []run.BackupVolume
	for _, v := range c.Volumes {
		if v.Namespace == "" || v.Namespace == namespace {
			out = append(out, v)
		}
	}
	return out
}

// wanted are the objects as the restore would create them: in a drill made harmless, with the claims in the drill's namespace; else as
// they are. Definitions of kinds are brought back by no run.
func wanted(objects []*unstructured.Unstructured, drill bool, from, to string) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range objects {
		switch {
		case o.GetKind() == "CustomResourceDefinition":
		case !drill:
			out = append(out, o)
		case o.GetKind() == "PersistentVolumeClaim" && o.GetNamespace() == from:
			c := o.DeepCopy()
			c.SetNamespace(to)
			out = append(out, c)
		default:
			if neutral, why := restore.Neutralise(o, from, to); why == "" {
				out = append(out, neutral)
			}
		}
	}
	return out
}
