package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/step"
)

// identityWait is how long the API server may take to say who it is. The backup is in S3: a cluster that is down, which may be what is to
// be mended, must not keep it from being verified.
const identityWait = 5 * time.Second

// ReasonKeyUnreadable: the plan requires signed manifests and its key could not be read. The other reasons are shared/backup's.
const ReasonKeyUnreadable = "KeyUnreadable"

// choose verifies backups until one is found that this run can restore from. It is done within one call: what a verification has read
// is not kept between calls, so that a backup which takes longer than a slice is said to be too large instead of being begun again.
func (h *Handler) choose(ctx context.Context, s *step.Session) (run.Backup, error) {
	if !applies(s) {
		return run.Backup{Phase: run.NotApplicable, Message: "the plan's inventory is no Velero backup"}, nil
	}
	began := time.Now()
	v := s.Plan.Spec.Inventory.Velero
	out := run.Backup{Location: v.Location, Status: signal.Unknown}
	if s.Run.Backup != nil {
		out.Waiting = s.Run.Backup.Waiting
	}
	out.Rounds++
	slice, cancel := context.WithTimeout(ctx, cluster.Slice)
	defer cancel()
	want, notes := h.expectation(slice, s)
	if want.Key == nil && want.ManifestRequired {
		out.Phase, out.Reason, out.Findings = run.Failed, ReasonKeyUnreadable, notes
		out.Message = "the plan requires a signed manifest and there is no key to verify it with"
		return fit(out), nil
	}
	store, err := s.BackupStore(slice)
	if err != nil {
		return out, storeFault("open "+v.Location, err)
	}
	seen := &counting{Store: store}
	choice, err := backup.Choose(slice, seen, v.RestorePoint, v.Schedule, s.Run.ID, want)
	out.TookMS = time.Since(began).Milliseconds()
	out.WaitedMS += out.TookMS // S3's time, not the run's own
	if err != nil && ctx.Err() == nil && slice.Err() == nil && !final(err) {
		return out, storeFault("choose a backup of "+v.Location, err)
	}
	section(&out, choice)
	if err != nil && !final(err) {
		out.Phase, out.Status, out.Reason = run.Failed, signal.Unknown, string(fault.BudgetExceeded)
		out.Message = fmt.Sprintf("%s was not verified within %s: %s", orNone(choice.Name), time.Duration(out.TookMS)*time.Millisecond, seen)
	}
	out.Findings = slices.Concat(notes, out.Findings)
	if f := overRPO(s, choice); f != nil {
		out.Findings = append(out.Findings, *f)
	}
	return fit(out), nil
}

// provesRPO tells whether the RPO bounds the age of the backup. A drill and an evaluate tell whether the objective would be met. What brings
// the workload back takes the newest that verifies and records the miss, as the gate does: refusing it would lose everything.
func provesRPO(m run.Mode) bool { return m == run.Drill || m == run.Evaluate }

// overRPO is what a recover must be told of a backup that a drill would not take; nil when there is nothing.
func overRPO(s *step.Session, c backup.Choice) *run.Finding {
	bound, age := maxAge(s.Plan.Spec), s.Now().Sub(c.At())
	if provesRPO(s.Run.Mode) || c.Status != signal.True || bound >= s.Plan.Spec.Inventory.MaxAge.D() || age <= bound {
		return nil
	}
	return &run.Finding{Severity: run.Warning, Subject: "backup " + c.Name,
		Problem: fmt.Sprintf("was taken %s ago, spec.objectives.rpo is %s", age.Round(time.Second), s.Plan.Spec.Objectives.RPO),
		Means:   fmt.Sprintf("more is lost than the plan's objective; it is the newest that verifies, and spec.inventory.maxAge (%s) allows it", s.Plan.Spec.Inventory.MaxAge)}
}

// Expected is what a plan expects of its restore point at a time, where it is to prove its objectives; the target's identity and the key are
// the caller's to add.
func Expected(p *plan.Plan, now time.Time) backup.Expectation {
	w, v := p.Spec.Workload, p.Spec.Inventory.Velero
	return backup.Expectation{Namespace: w.Namespace, StatefulSet: w.StatefulSet, Now: now,
		MaxAge: maxAge(p.Spec), ManifestRequired: v.Integrity.Manifest == plan.ManifestRequired}
}

// IdentityUnknown is the finding about a target that did not say who it is.
func IdentityUnknown(err error) run.Finding {
	return run.Finding{Severity: run.Warning, Subject: "the target cluster", Problem: "did not say who it is: " + run.Short(err.Error(), 160),
		Means: "whether the backup is this cluster's, and fits its version, is not known yet"}
}

// expectation is what the backup must fit. What could not be found out is not compared, and is a finding.
func (h *Handler) expectation(ctx context.Context, s *step.Session) (backup.Expectation, []run.Finding) {
	e := Expected(s.Plan, s.Now())
	if !provesRPO(s.Run.Mode) {
		e.MaxAge = s.Plan.Spec.Inventory.MaxAge.D()
	}
	var notes []run.Finding
	var err error
	if e.ClusterUID, e.KubernetesVersion, err = Identity(ctx, s.Cluster); err != nil {
		notes = append(notes, IdentityUnknown(err))
	}
	err = nil
	if h.Env.BackupKey != nil {
		e.Key, err = h.Env.BackupKey(ctx, s.Plan)
	}
	key := s.Plan.Spec.Inventory.Velero.Integrity.Key
	if err = keyError(h.Env, key, err); err != nil {
		e.Key = nil
		notes = append(notes, run.Finding{Severity: run.Warning, Subject: "key " + key, Problem: "cannot be used: " + run.Short(err.Error(), 160),
			Means: "no manifest can be verified: whether the backup is what Velero wrote is not known"})
	}
	return e, notes
}

func keyError(env *step.Env, key string, err error) error {
	switch {
	case key == "":
		return nil
	case env.BackupKey == nil:
		return errors.New("this process has no keys")
	default:
		return err
	}
}

// maxAge is the oldest backup that a drill takes: the inventory's, and for the latest one the plan's RPO as well.
func maxAge(spec plan.Spec) time.Duration {
	age, rpo, point := spec.Inventory.MaxAge.D(), spec.Objectives.RPO.D(), spec.Inventory.Velero.RestorePoint
	if latest := point.Backup == "" && point.RandomWithin == 0; latest && rpo > 0 && rpo < age {
		return rpo
	}
	return age
}

// Identity reads the cluster's identity (the UID of kube-system) and version, within a few seconds. What could be read is returned
// beside an error.
func Identity(ctx context.Context, c *cluster.Client) (uid, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, identityWait)
	defer cancel()
	ns, nserr := cluster.Get[corev1.Namespace](ctx, c, cluster.Namespaces, "", metav1.NamespaceSystem)
	if nserr == nil {
		uid = string(ns.UID)
	}
	v, verr := c.Version(ctx)
	if verr == nil {
		version = v.GitVersion
	}
	return uid, version, errors.Join(nserr, verr)
}

// section takes the verdict over.
func section(out *run.Backup, c backup.Choice) {
	out.Phase, out.Status, out.Reason, out.Message = run.Failed, c.Status, c.Reason, c.Message
	if c.Status == signal.True {
		out.Phase = run.Verified
	}
	out.Name, out.Chosen, out.ClusterUID, out.Listing = c.Name, c.How, c.ClusterUID, c.Listing
	out.StartedAt, out.CompletedAt = c.StartedAt, c.CompletedAt
	out.Integrity, out.Objects, out.Bytes = string(c.Integrity), c.Objects, c.Bytes
	out.Volumes, out.VolumeCount = c.Volumes, len(c.Volumes)
	for _, v := range c.Volumes {
		if moved(v) {
			out.Moved++
		}
	}
	out.Findings, out.Passed, out.PassedCount = c.Findings, c.Passed, c.PassedCount
}

// moved tells whether the volume's data is in the bucket.
func moved(v run.BackupVolume) bool {
	return v.Method == "CSISnapshotWithDataMovement" || v.Method == "PodVolumeBackup"
}

// Bounds of the section's lists. The whole of them is in "fallback backup verify".
const (
	volumeItems  = 10
	findingItems = 16
	passedItems  = 6
	textRunes    = 240
)

// fit cuts the lists and texts, the most pressing findings first, until the section is under its limit with some room: later steps
// copy parts of it.
func fit(out run.Backup) run.Backup {
	all, volumes, passed := run.Pressing(out.Findings), out.Volumes, out.Passed
	out.Message = run.Short(out.Message, 2*textRunes)
	for n, width := findingItems, textRunes; ; n, width = n*3/4, width*3/4 {
		out.Findings = run.FewFindings(all, n, width)
		out.Volumes = volumes[:min(len(volumes), max(1, volumeItems*n/findingItems))]
		out.Passed = run.Few(passed, max(1, passedItems*n/findingItems), width)
		if n <= 1 || run.Fits(out) {
			return out
		}
	}
}

func orNone(name string) string {
	if name == "" {
		return "no backup was listed, and none"
	}
	return "backup " + name
}

// final tells what asking again does not change: the place refuses, or does not exist.
func final(err error) bool { return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) }

// storeFault is what an unreachable place of backups is: another call may find it. A step of a plan that names a wrong place does not.
func storeFault(op string, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	return fault.New(fault.Unavailable, op, err)
}

// says joins sentences.
func says(parts ...string) string { return strings.Join(parts, "; ") }
