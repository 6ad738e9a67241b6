package backup

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"fallbackchain.io/fallback/shared/run"
)

// Stage is how far Velero has come with a backup.
type Stage string

const (
	// StageRunning: the phase is none that a backup ends in. Velero 1.18 writes velero-backup.json when the objects are collected
	// (Finalizing, WaitingForPluginOperations), when the operations ended, and when it is finalized
	// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/persistence/object_store.go, PutBackup;
	// https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/controller/backup_operations_controller.go, PutBackupMetadata;
	// https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/controller/backup_finalizer_controller.go, PutBackupMetadata).
	StageRunning Stage = "Running"
	// StageRewriting: the phase is Completed, and the tarball is yet to be written again: of a backup with item operations, each CSI
	// snapshot is one, the finalizer writes velero-backup.json first and then the tarball (PutBackupContents, the same file). What is
	// sealed in between would not verify a moment later.
	StageRewriting Stage = "Rewriting"
	// StageCompleted: Velero is done, and it went well.
	StageCompleted Stage = "Completed"
	// StageEnded: it ended as something else.
	StageEnded Stage = "Ended"
)

const (
	// settle is how long the tarball may take to be written again where its time is the very second of velero-backup.json: S3 keeps
	// whole seconds, so that it may be from before. Only a small one can be that quick.
	settle = 15 * time.Second
	// interrupted is after how long a tarball that is older than velero-backup.json is not waited for: Velero writes it at once, or
	// begins the finalization again when it was restarted, or never does. A copy of a backup has times of its own, too.
	interrupted = time.Hour
)

// Progress is a backup as far as it has come.
type Progress struct {
	Summary
	Stage Stage
	// Signed tells that there are a manifest and its signature; neither was looked at.
	Signed bool
}

// Look tells how far Velero has come with a backup. A backup without velero-backup.json is fs.ErrNotExist.
func Look(ctx context.Context, s Store, name string, now time.Time) (Progress, error) {
	p := Progress{Summary: Summary{Name: name}}
	fail := func(err error) (Progress, error) { return p, fmt.Errorf("look at backup %s: %w", name, err) }
	if !ValidName(name) {
		return fail(fmt.Errorf("it is no name of a backup: %w", fs.ErrNotExist))
	}
	objects, err := s.List(ctx, dir(name))
	if err != nil {
		return fail(err)
	}
	v := &verification{name: name, objects: objects}
	metadata, ok := v.find(kindMetadata)
	if !ok {
		return fail(fmt.Errorf("there is no %s: %w", keyOf(name, kindMetadata), fs.ErrNotExist))
	}
	var doc *backupDocument
	parse := func(r io.Reader) (err error) { doc, err = parseMetadata(r); return err }
	if err := whole(ctx, s, metadata, parse); err != nil {
		return fail(err)
	}
	p.Summary = doc.summary(name)
	for _, o := range objects {
		p.Bytes += o.Size
	}
	_, p.Sealed = v.find(kindManifest)
	_, signature := v.find(kindSignature)
	p.Signed = p.Sealed && signature
	switch p.Phase {
	case PhaseCompleted:
		p.Stage = StageCompleted
	case "PartiallyFailed", "Failed", "FailedValidation", "Deleting":
		p.Stage = StageEnded
		return p, nil
	default: // also one that nobody knows
		p.Stage = StageRunning
		return p, nil
	}
	operations, hasOperations := v.find(kindItemOperations)
	contents, hasContents := v.find(kindContents)
	if !hasOperations || !hasContents || rewritten(metadata, contents, now) {
		return p, nil // what is missing, Verify says
	}
	n := 0
	count := func(r io.Reader) error {
		return gunzip(r, func(r io.Reader) error { return eachElement(r, func(itemOperation) { n++ }) })
	}
	if err := whole(ctx, s, operations, count); err != nil {
		return fail(err)
	}
	if n > 0 {
		p.Stage = StageRewriting
	}
	return p, nil
}

// rewritten tells whether a tarball that was to be written again has been.
func rewritten(metadata, contents Object, now time.Time) bool {
	first, last := metadata.Modified.Truncate(time.Second), contents.Modified.Truncate(time.Second)
	switch age := now.Sub(first); {
	case last.After(first), age >= interrupted:
		return true
	case last.Equal(first):
		return age >= settle
	}
	return false
}

// whole reads an object to its end. What the store says goes before what use says, which is then a consequence.
func whole(ctx context.Context, s Store, o Object, use func(io.Reader) error) error {
	b, err := openBody(ctx, s, o, false)
	if err != nil {
		return err
	}
	used := use(b)
	if _, err := b.finish(); err != nil {
		return err
	}
	if used != nil {
		return fmt.Errorf("%s %w", o.Key, used)
	}
	return nil
}

// Unsealed tells of every backup that has no signed manifest how far it has come, the newest first. schedule takes only the backups of
// that Velero Schedule, namespace only those that include it; empty takes all. What cannot be read is a finding. An error means that
// ctx ended or that the location could not be listed.
func Unsealed(ctx context.Context, s Store, schedule, namespace string, now time.Time) ([]Progress, []run.Finding, error) {
	found, err := list(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	objects, err := s.List(ctx, backupsDir)
	if err != nil {
		return nil, nil, fmt.Errorf("list the backups: %w", err)
	}
	var out []Progress
	var findings []run.Finding
	for _, l := range found {
		switch {
		case l.doc == nil:
			findings = append(findings, l.findings...)
			continue
		case schedule != "" && l.Schedule != schedule,
			namespace != "" && !includes(l.doc.Spec.IncludedNamespaces, l.doc.Spec.ExcludedNamespaces, namespace),
			l.Sealed && slices.ContainsFunc(objects, func(o Object) bool { return o.Key == keyOf(l.Name, kindSignature) }):
			continue
		}
		p, err := Look(ctx, s, l.Name, now)
		switch {
		case err == nil:
			out = append(out, p)
		case ctx.Err() != nil:
			return nil, nil, err
		default:
			findings = append(findings, run.Finding{Severity: run.Warning, Subject: dir(l.Name), Problem: err.Error(), Means: "it is not known whether the backup has completed"})
		}
	}
	return out, findings, nil
}
