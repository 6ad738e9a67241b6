package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

// ReasonNoRestorePoint: the run has chosen no backup.
const ReasonNoRestorePoint = "NoRestorePoint"

// chosen is the verdict on the run's restore point as the step that chose it left it; ok tells that there is one to read.
func (s *Session) chosen() (r inventory.Result, ok bool) {
	b := s.Run.Backup
	switch {
	case b == nil:
		r = inventory.Result{Status: signal.Unknown, Reason: ReasonNoRestorePoint, Message: "no backup was chosen for this run"}
		if f, caught := s.Run.Faults["backup"]; caught {
			r.Reason, r.Message = f.Error, "no backup could be chosen: "+run.Short(f.Cause, 300)
		}
		return r, false
	case b.Phase == run.Verified && b.Name != "" && b.Listing != "":
		return inventory.Result{}, true
	}
	r = inventory.Result{Status: signal.Unknown, Reason: b.Reason, Message: b.Message}
	if b.Status == signal.False {
		r.Status = signal.False
	}
	if r.Reason == "" {
		r.Reason = ReasonNoRestorePoint
	}
	for _, f := range b.Findings {
		if f.Severity == run.Stop {
			r.Findings = append(r.Findings, inventory.Finding{File: f.Subject, Problem: f.Problem})
		}
	}
	return r, false
}

// Contents reads what the run's restore point holds of the workload's namespace: exactly the backup that was chosen, as it was when
// it was verified. It is read once in a process; nobody may change it.
func (s *Session) Contents(ctx context.Context) (*backup.Contents, error) {
	const op = "read the run's backup"
	if verdict, ok := s.chosen(); !ok {
		return nil, fault.Newf(fault.InventoryBroken, op, "%s: %s", verdict.Reason, verdict.Message)
	}
	return s.env.Read.get(backupKey{s.Run.Backup.Location, s.Run.Backup.Name, s.Run.Backup.Listing, s.Plan.Spec.Workload.Namespace},
		func(k backupKey) (*backup.Contents, error) {
			store, err := s.BackupStore(ctx)
			if err != nil {
				return nil, err
			}
			return backup.Read(ctx, store, k.name, k.listing, k.namespace)
		})
}

type backupKey struct{ location, name, listing, namespace string }

// BackupCache keeps the backups that a process read last: assess, the restore and the tiers ask for the same one in turn. The zero
// value is empty and ready to use.
type BackupCache struct {
	mu   sync.Mutex
	have []cachedBackup
}

type cachedBackup struct {
	key      backupKey
	contents *backup.Contents
}

// cachedBackups is how many are kept: a warm function serves one run after another.
const cachedBackups = 2

func (c *BackupCache) get(k backupKey, read func(backupKey) (*backup.Contents, error)) (*backup.Contents, error) {
	if c == nil {
		return read(k)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.have {
		if h.key == k {
			return h.contents, nil
		}
	}
	contents, err := read(k)
	if err != nil {
		return nil, err
	}
	c.have = append([]cachedBackup{{k, contents}}, c.have...)
	c.have = c.have[:min(len(c.have), cachedBackups)]
	return contents, nil
}

// verifiedBackup is VerifiedInventory for a plan with Velero backups.
func (s *Session) verifiedBackup(ctx context.Context) (*inventory.Bundle, inventory.Result, error) {
	if verdict, ok := s.chosen(); !ok {
		return nil, verdict, nil
	}
	target, err := s.inventoryTarget(ctx)
	if err != nil {
		return nil, inventory.Result{}, err
	}
	contents, err := s.Contents(ctx)
	if err != nil {
		return nil, notRead(err), nil
	}
	w := s.Plan.Spec.Workload
	b, findings := contents.Bundle(w.Namespace, w.StatefulSet)
	if b == nil {
		return nil, inventory.Result{Status: signal.False, Reason: inventory.ReasonMalformed, Message: "the backup makes no inventory" + told(findings, run.Stop)}, nil
	}
	if b.ClusterUID == "" {
		// A manifest that says it is read only where its signature is verified.
		b.ClusterUID = s.Run.Backup.ClusterUID
	}
	var warnings []string
	r := b.Verify(ctx, s.Now(), target, s.Plan.Spec.Inventory.MaxAge.D())
	if r.Reason == inventory.ReasonSourceUnknown && b.ClusterUID == "" {
		r.Message += fmt.Sprintf(": `fallback backup seal --backup %s` says it of this one, the label %s in its Schedule's template of those to come",
			s.Run.Backup.Name, backup.LabelCluster)
	}
	for _, f := range findings {
		switch f.Severity {
		case run.Stop:
			if r.Status == signal.True {
				r.Status, r.Reason, r.Message = signal.False, inventory.ReasonFilesBroken, f.Subject+": "+f.Problem
			}
			r.Findings = append(r.Findings, inventory.Finding{File: f.Subject, Problem: f.Problem})
		case run.Warning:
			warnings = append(warnings, f.Subject+": "+f.Problem)
		}
	}
	r.Warnings = append(r.Warnings, warnings...)
	if r.Status == signal.True {
		chosen := s.Run.Backup
		r.Message = fmt.Sprintf("Velero backup %s, %d objects of Kubernetes %s, %s old, integrity %s", chosen.Name, b.Len(), b.KubernetesVersion,
			s.Now().Sub(b.CapturedAt).Round(time.Second), chosen.Integrity)
		if len(r.Warnings) > 0 {
			r.Message += "; " + strings.Join(run.Few(r.Warnings, 3, 160), "; ")
		}
	}
	return b, r, nil
}

func told(findings []run.Finding, severity string) string {
	for _, f := range findings {
		if f.Severity == severity {
			return ": " + f.Subject + ": " + f.Problem
		}
	}
	return ""
}

// notRead is the verdict on a backup that verified when it was chosen and could not be read now: another one has taken its place
// (False), or it could not be reached.
func notRead(err error) inventory.Result {
	r := inventory.Result{Status: signal.False, Reason: inventory.ReasonFilesBroken, Message: err.Error()}
	var f *fault.Fault
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Reason = inventory.ReasonMissing
	case errors.Is(err, backup.ErrOther), errors.Is(err, backup.ErrTooLarge):
	case errors.Is(err, fs.ErrPermission), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &f) && f.Class() == fault.Retry:
		r.Status, r.Reason = signal.Unknown, inventory.ReasonUnreadable
	}
	return r
}
