// Package undo compensates a run's changes from its journal, in reverse order: what the run created is deleted, what it
// changed or deleted is put back, and each compensation is written to the journal after it was read back. It never writes
// over what somebody else changed since. Everything may be called again: a killed undo goes on where it was.
package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/journal"
)

// Deps are what undoing works with. The changer brings journal, scope, lease guard and clock; in a drill its scope keeps
// undoing, too, out of production.
type Deps struct {
	Cluster *cluster.Client
	Changer *change.Changer
	// NoWait issues what can be issued at once and waits for nothing: what is not gone yet is Waiting. For a Start.
	NoWait bool
	// Replaced are PersistentVolumes whose claims the caller has made anew on other volumes: that they stay Retain is what it wants, and
	// their entries are undone with it.
	Replaced []string
	// Patience is how long a snapshot that nothing needs any more may stay before its controller is nudged; 0: 5 s.
	Patience time.Duration
}

// Result names every entry that the filter chose, cumulatively over all calls: it is read from the journal.
type Result struct {
	// PutBack are the changes that are undone, each with how.
	PutBack []string
	// Left are those that could not be undone, each with the reason. Another call tries them again.
	Left []string
	// Waiting are those that are under way (an object that is being deleted), or whose turn did not come before ctx ended.
	Waiting []string
}

// Complete tells whether nothing is left and nothing is waited for.
func (r Result) Complete() bool { return len(r.Left) == 0 && len(r.Waiting) == 0 }

// errWaiting stops a pass: something must be gone first, and ctx ended (or NoWait is set).
var errWaiting = errors.New("waiting")

// Entries undoes every pending entry that filter chooses (nil chooses all), last change first, until all are done or ctx
// ends, which is no error: the rest is Waiting. An error is one that stops undoing altogether: the API server cannot be
// asked (class Retry), the lease is lost, the journal cannot be written.
func Entries(ctx context.Context, d Deps, filter func(journal.Entry) bool) (Result, error) {
	all, err := d.Changer.Journal.Entries(ctx)
	if err != nil {
		return Result{}, fault.New(fault.JournalUnwritable, "read the journal of run "+d.Changer.Run, err)
	}
	u := &undoer{Deps: d, all: all, refused: map[string]string{}}
	for _, e := range inOrder(all) {
		if err != nil {
			break
		}
		if e.Pending() && (filter == nil || filter(e)) {
			err = u.entry(ctx, e)
		}
	}
	if err == nil {
		err = u.settle(ctx)
	}
	if errors.Is(err, errWaiting) || (err != nil && ctx.Err() != nil && fault.From(err).Class() == fault.Retry) {
		err = nil
	}
	res, rerr := Read(context.WithoutCancel(ctx), d.Changer.Journal, filter)
	for i, line := range res.Waiting {
		_, object, _ := strings.Cut(line, " ")
		if why, ok := u.refused[object]; ok {
			res.Waiting[i] += ": its controller could not be asked to look at it again: " + why
		}
	}
	return res, errors.Join(err, rerr)
}

// Read reports, without changing anything, where the entries that filter chooses stand.
func Read(ctx context.Context, j journal.Journal, filter func(journal.Entry) bool) (Result, error) {
	all, err := j.Entries(ctx)
	if err != nil {
		return Result{}, fault.New(fault.JournalUnwritable, "read the journal", err)
	}
	var r Result
	seen := map[string]bool{}
	for i := len(all) - 1; i >= 0; i-- {
		e := all[i]
		if e.Undo == journal.UndoNothing || (filter != nil && !filter(e)) || (e.Done != nil && e.Done.Error != "") {
			continue
		}
		line, to := fmt.Sprintf("%s %s", e.Verb, e.Object), &r.Waiting
		switch {
		case e.Undone != nil && e.Undone.Error != "":
			line, to = line+": "+e.Undone.Error, &r.Left
		case e.Undone != nil:
			line, to = line+": "+e.Undone.Note, &r.PutBack
		}
		if !seen[line] {
			*to = append(*to, line)
		}
		seen[line] = true
	}
	return r, nil
}

// inOrder is the order in which changes are undone: the last one first. Only the contents of snapshots come after the snapshots
// themselves, see users.
func inOrder(all []journal.Entry) []journal.Entry {
	var out, contents []journal.Entry
	after := -1
	for _, e := range slices.Backward(all) {
		switch e.Object.Resource {
		case cluster.VolumeSnapshotContents.Resource:
			contents = append(contents, e)
			after = max(after, len(out))
			continue
		case cluster.VolumeSnapshots.Resource:
			after = max(after, len(out)+1)
		}
		out = append(out, e)
	}
	if len(contents) == 0 {
		return out
	}
	return slices.Insert(out, after, contents...)
}

type undoer struct {
	Deps
	all []journal.Entry
	// deleting are the entries whose objects are being deleted and were not read back as gone yet.
	deleting []deletion
	// refused are the objects that may not be nudged, each with the reason.
	refused map[string]string
}

type deletion struct {
	entry journal.Entry
	ref   change.Ref
	note  string
}

// entry undoes one entry. Faults that concern only this entry are written down and do not stop the others.
func (u *undoer) entry(ctx context.Context, e journal.Entry) error {
	if ctx.Err() != nil {
		return errWaiting
	}
	if u.mustWait(e) {
		if err := u.settle(ctx); err != nil {
			return err
		}
	}
	const tries = 3
	for n := 1; ; n++ {
		var err error
		switch {
		case e.Undo == journal.UndoDelete:
			err = u.remove(ctx, e)
		case e.Undo == journal.UndoRestore && e.Verb == journal.Delete:
			err = u.recreate(ctx, e)
		case e.Undo == journal.UndoRestore:
			err = u.revert(ctx, e)
		default:
			err = fault.Newf(fault.UndoIncomplete, "undo "+e.Object.String(), "nothing is known about undo %q", e.Undo)
		}
		if err == nil || errors.Is(err, errWaiting) {
			return err
		}
		switch f := fault.From(err); {
		case f.Code == fault.Conflict && n < tries:
			continue // somebody wrote between our read and our write: look again
		case f.Code == fault.LeaseLost, f.Code == fault.JournalUnwritable, f.Code == fault.Unauthorized,
			f.Class() == fault.Retry && f.Code != fault.Conflict:
			return err
		default:
			return u.left(ctx, e, err.Error())
		}
	}
}

// mustWait tells whether what is being deleted has to be gone before e is undone: the same object is made again, or e's
// namespace is deleted (a namespace whose pods still run takes much longer than pods and then the namespace).
func (u *undoer) mustWait(e journal.Entry) bool {
	if isNamespace(e.Object) || isClass(e.Object) {
		return true
	}
	for _, d := range u.deleting {
		if sameObject(d.entry.Object, e.Object) {
			return true
		}
	}
	return false
}

// madeByRun tells whether the run made the object with this UID, in this entry or when it put the object back later.
func (u *undoer) madeByRun(e journal.Entry, uid types.UID) bool {
	for _, l := range u.all {
		if l.Seq >= e.Seq && l.Verb != journal.Delete && sameObject(l.Object, e.Object) && l.Done != nil && l.Done.UID == string(uid) {
			return true
		}
	}
	return false
}

func sameObject(a, b journal.Object) bool {
	return a.Resource == b.Resource && a.Namespace == b.Namespace && a.Name == b.Name
}

func isClass(o journal.Object) bool { return o.Resource == cluster.StorageClasses.Resource }

func isNamespace(o journal.Object) bool { return o.Kind == "Namespace" && o.APIVersion == "v1" }

// remove deletes an object that the run created: only one that carries the run's label under the entry's name, and, when
// the creation was confirmed, has the UID that was created.
func (u *undoer) remove(ctx context.Context, e journal.Entry) error {
	have, ref, err := u.get(ctx, e)
	switch {
	case err != nil:
		return err
	case have == nil && e.Done == nil:
		return u.undone(ctx, e, "was never made")
	case have == nil:
		return u.undone(ctx, e, "gone")
	case e.Done != nil && e.Done.UID != "" && !u.madeByRun(e, have.GetUID()):
		return u.undone(ctx, e, fmt.Sprintf("gone; another one has its name (UID %s)", have.GetUID()))
	case have.GetLabels()[change.LabelRun] != u.Changer.Run && e.Done == nil:
		return u.undone(ctx, e, "was never made; one that is not this run's has its name")
	case have.GetLabels()[change.LabelRun] != u.Changer.Run:
		return u.left(ctx, e, fmt.Sprintf("label %s is %q, expected %q: it is not this run's any more", change.LabelRun, have.GetLabels()[change.LabelRun], u.Changer.Run))
	}
	ref.UID = have.GetUID()
	if err := u.users(ctx, e.Object); err != nil {
		return err
	}
	if err := u.Changer.Delete(ctx, ref, change.DeleteOptions{Undo: journal.UndoNothing}, fmt.Sprintf("undo of change %d: this run made it", e.Seq)); err != nil {
		return err
	}
	u.deleting = append(u.deleting, deletion{entry: e, ref: ref, note: "deleted"})
	return nil
}

// recreate makes an object again that the run deleted.
func (u *undoer) recreate(ctx context.Context, e journal.Entry) error {
	have, ref, err := u.get(ctx, e)
	if err != nil {
		return err
	}
	before, err := decode(e.Before)
	if err != nil {
		return fault.New(fault.UndoIncomplete, "read the before-image of "+e.Object.String(), err)
	}
	switch {
	case have != nil && string(have.GetUID()) == e.Object.UID && have.GetDeletionTimestamp() == nil:
		return u.undone(ctx, e, "was never deleted")
	case have != nil && string(have.GetUID()) == e.Object.UID:
		ref.UID = have.GetUID()
		if err := u.gone(ctx, ref); err != nil {
			return err
		}
	case have != nil && len(changes(change.Bare(before).Object, change.Bare(have).Object)) == 0:
		return u.undone(ctx, e, "is there again")
	case have != nil:
		return u.left(ctx, e, fmt.Sprintf("another one has its name (UID %s) with other content", have.GetUID()))
	}
	made, err := u.Changer.Recreate(ctx, before, fmt.Sprintf("undo of change %d: put back what was deleted", e.Seq))
	if err != nil {
		return err
	}
	back, _, err := u.get(ctx, e)
	if err != nil {
		return err
	}
	if back == nil || back.GetUID() != made.GetUID() {
		return u.left(ctx, e, "it was made again and could not be read back")
	}
	return u.undone(ctx, e, "created again")
}

// get reads the entry's object; nil when there is none.
func (u *undoer) get(ctx context.Context, e journal.Entry) (*unstructured.Unstructured, change.Ref, error) {
	gv, err := schema.ParseGroupVersion(e.Object.APIVersion)
	if err != nil || e.Object.Resource == "" || e.Object.Name == "" {
		return nil, change.Ref{}, fault.Newf(fault.UndoIncomplete, "undo "+e.Object.String(), "the journal names no object: %s %q", e.Object.APIVersion, e.Object.Resource)
	}
	ref := change.Ref{GVR: gv.WithResource(e.Object.Resource), Kind: e.Object.Kind, Namespace: e.Object.Namespace, Name: e.Object.Name}
	have, err := u.resource(ref).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, ref, nil
	}
	return have, ref, cluster.Fault("read "+ref.String(), err)
}

func (u *undoer) resource(r change.Ref) dynamic.ResourceInterface {
	return u.Cluster.Dynamic.Resource(r.GVR).Namespace(r.Namespace)
}

func (u *undoer) undone(ctx context.Context, e journal.Entry, note string) error {
	return u.record(ctx, journal.Undone{Seq: e.Seq, Note: note})
}

func (u *undoer) left(ctx context.Context, e journal.Entry, why string) error {
	return u.record(ctx, journal.Undone{Seq: e.Seq, Error: why})
}

// record writes down how the entry ended, even when the time is just over: what was done is done.
func (u *undoer) record(ctx context.Context, n journal.Undone) error {
	if u.Changer.DryRun {
		return nil
	}
	n.At = u.Changer.Now()
	if err := u.Changer.Journal.Undone(context.WithoutCancel(ctx), n); err != nil {
		return fault.New(fault.JournalUnwritable, fmt.Sprintf("write down that change %d was undone", n.Seq), err)
	}
	return nil
}
