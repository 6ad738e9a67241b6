// Package journal is a run's record of every change, written before the change is made. Rollback, teardown and janitor
// work from it: a step that was killed has no section, but its journal tells what it did or was about to do.
package journal

import (
	"context"
	"encoding/json"
	"time"
)

// Verb is what is done to an object.
type Verb string

const (
	Create Verb = "create"
	Apply  Verb = "apply"
	Patch  Verb = "patch"
	Delete Verb = "delete"
)

// Object identifies what a change is about. The UID is that of the object before the change ("" when it did not exist).
type Object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Resource   string `json:"resource"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
}

// String is "Kind namespace/name".
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Undo is how a change is compensated.
type Undo string

const (
	// UndoDelete: the run created the object; undoing deletes it, by label, name and run ID.
	UndoDelete Undo = "delete"
	// UndoRestore: undoing puts the before-image back.
	UndoRestore Undo = "restore"
	// UndoNothing: undoing is not needed (a controller makes the object again, as with a Pod or a VolumeAttachment) or not
	// wanted (a snapshot that was taken); Why says so.
	UndoNothing Undo = "nothing"
)

// Intent is a change that is about to be made.
type Intent struct {
	// Seq counts from 1 within a run; the journal assigns it.
	Seq   int       `json:"seq"`
	State string    `json:"state"`
	At    time.Time `json:"at"`
	Verb  Verb      `json:"verb"`
	// Object and its before-image; Before is empty when the object did not exist.
	Object Object          `json:"object"`
	Before json.RawMessage `json:"before,omitempty"`
	// Content is what is sent (object or patch), without secret values.
	Content json.RawMessage `json:"content,omitempty"`
	Why     string          `json:"why"`
	Undo    Undo            `json:"undo"`
}

// Done is how an intent ended.
type Done struct {
	Seq int       `json:"seq"`
	At  time.Time `json:"at"`
	// UID and ResourceVersion of the object after the change.
	UID             string `json:"uid,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// After is the image of an object that existed before, as the change left it: undoing tells by it what was changed, and
	// whether somebody else changed the same fields since.
	After json.RawMessage `json:"after,omitempty"`
	// Error is why the change was not made.
	Error string `json:"error,omitempty"`
}

// Undone is how an intent was compensated.
type Undone struct {
	Seq int       `json:"seq"`
	At  time.Time `json:"at"`
	// Note says how, or why nothing was to be done.
	Note string `json:"note,omitempty"`
	// Error is why it could not be compensated.
	Error string `json:"error,omitempty"`
}

// Entry is an intent with what became of it. Done is nil when the process died in between: the change may or may not have
// been made, and only reading the object tells.
type Entry struct {
	Intent
	Done   *Done   `json:"done,omitempty"`
	Undone *Undone `json:"undone,omitempty"`
}

// Pending tells whether the entry still has something to compensate: it was made (or may have been) and was not undone.
func (e Entry) Pending() bool {
	if e.Undo == UndoNothing || (e.Undone != nil && e.Undone.Error == "") {
		return false
	}
	return e.Done == nil || e.Done.Error == ""
}

// Journal is one run's journal. Intend must be durable before it returns. Safe for concurrent use.
type Journal interface {
	Intend(ctx context.Context, i Intent) (seq int, err error)
	Done(ctx context.Context, d Done) error
	Undone(ctx context.Context, u Undone) error
	// Entries in the order of their intents.
	Entries(ctx context.Context) ([]Entry, error)
}

// Store opens journals. Opening one that does not exist makes it.
type Store interface {
	Open(ctx context.Context, runID string) (Journal, error)
}
