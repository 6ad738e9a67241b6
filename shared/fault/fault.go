// Package fault holds the errors a step may end with. A fault says what to do next, not only what went wrong: the
// graph routes by its code, and every code belongs to exactly one class.
package fault

import (
	"errors"
	"fmt"
	"slices"
)

// Class is what the run does about a fault.
type Class string

const (
	// Retry means that the same call may succeed in a moment; the state machine retries it with backoff.
	Retry Class = "Retry"
	// Demote means that this tier cannot do it; the run goes to the next lower tier.
	Demote Class = "Demote"
	// Rollback means that what was done so far must be undone.
	Rollback Class = "Rollback"
	// Abort means that the run cannot go on for a reason that no tier mends; what was done is undone.
	Abort Class = "Abort"
	// Dirty means that nobody but a person may go on.
	Dirty Class = "Dirty"
)

// Code names a fault. It is the error name in the state machine ("errorType" of a Lambda error, "ErrorEquals" of a
// Catch), so it has no spaces and never changes its meaning.
type Code string

const (
	// Throttled: the API server or AWS asked us to slow down (HTTP 429, TooManyRequestsException).
	Throttled Code = "Throttled"
	// Unavailable: the API server or a dependency did not answer (connection refused, 5xx, timeout).
	Unavailable Code = "Unavailable"
	// Conflict: an object changed between our read and our write; reading again resolves it.
	Conflict Code = "Conflict"

	// NotQualified: the tier's own check found that the cluster does not qualify for it.
	NotQualified Code = "NotQualified"
	// ObjectsMissing: an object this tier works on does not exist.
	ObjectsMissing Code = "ObjectsMissing"
	// SchedulingImpossible: FailedScheduling persists and names something that waiting cannot change.
	SchedulingImpossible Code = "SchedulingImpossible"
	// BudgetExceeded: the tier ran out of its time.
	BudgetExceeded Code = "BudgetExceeded"
	// PermissionDenied: the API server refused a verb on a resource (403).
	PermissionDenied Code = "PermissionDenied"
	// OverwriteRefused: an object exists with other content and the plan does not allow to change it.
	OverwriteRefused Code = "OverwriteRefused"

	// IsolationBroken: something opened the quarantine, or it could not be verified.
	IsolationBroken Code = "IsolationBroken"
	// InventoryBroken: the inventory does not verify (digest, identity, age) at the moment it is used.
	InventoryBroken Code = "InventoryBroken"

	// PlanInvalid: the plan cannot be read, or has mistakes.
	PlanInvalid Code = "PlanInvalid"
	// ModeNotSupported: the mode is known but not built yet (failover, failback).
	ModeNotSupported Code = "ModeNotSupported"
	// InputInvalid: the run's input has mistakes.
	InputInvalid Code = "InputInvalid"
	// LeaseHeld: another run holds the workload's lease.
	LeaseHeld Code = "LeaseHeld"
	// LeasePreempted: a recover took the workload's lease from this drill; the drill ends and removes what is its own.
	LeasePreempted Code = "LeasePreempted"
	// OwnerNotPaused: something else would undo our changes (HPA, KEDA, GitOps, an operator) and the plan does not say how to pause it.
	OwnerNotPaused Code = "OwnerNotPaused"
	// Unauthorized: the credentials were refused (401).
	Unauthorized Code = "Unauthorized"
	// RunAborted: a person asked the run to stop (fallback abort).
	RunAborted Code = "RunAborted"

	// LeaseLost: another holder took the lease while this run was changing things.
	LeaseLost Code = "LeaseLost"
	// JournalUnwritable: an intent could not be written down, so the change was not made.
	JournalUnwritable Code = "JournalUnwritable"
	// ProductionTouched: a drill tried to change something outside its own namespace; the change was refused.
	ProductionTouched Code = "ProductionTouched"
	// UndoIncomplete: rollback or teardown could not put everything back.
	UndoIncomplete Code = "UndoIncomplete"
	// Internal: a defect of this program (a panic, a section that cannot be encoded).
	Internal Code = "Internal"
)

// classes is the one place where a code gets its class.
var classes = map[Code]Class{
	Throttled: Retry, Unavailable: Retry, Conflict: Retry,
	NotQualified: Demote, ObjectsMissing: Demote, SchedulingImpossible: Demote, BudgetExceeded: Demote,
	PermissionDenied: Demote, OverwriteRefused: Demote,
	IsolationBroken: Rollback, InventoryBroken: Demote,
	PlanInvalid: Abort, ModeNotSupported: Abort, InputInvalid: Abort, LeaseHeld: Abort, OwnerNotPaused: Abort,
	Unauthorized: Abort, RunAborted: Abort, LeasePreempted: Abort,
	LeaseLost: Dirty, JournalUnwritable: Dirty, ProductionTouched: Dirty, UndoIncomplete: Dirty, Internal: Dirty,
}

// ClassOf returns the code's class; an unknown code is Dirty, because nothing is known about what it left behind.
func ClassOf(c Code) Class {
	if k, ok := classes[c]; ok {
		return k
	}
	return Dirty
}

// Codes lists the codes of a class in a stable order.
func Codes(k Class) []Code {
	var out []Code
	for c, have := range classes {
		if have == k {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out
}

// Fault is an error with the code that routes it, the operation that met it, and its cause.
type Fault struct {
	Code Code
	// Op is what was being done, e.g. "delete VolumeAttachment csi-12ab".
	Op  string
	Err error
}

// New returns a fault. err may be nil when op says it all.
func New(c Code, op string, err error) *Fault { return &Fault{Code: c, Op: op, Err: err} }

// Newf returns a fault whose cause is formatted.
func Newf(c Code, op, format string, args ...any) *Fault {
	return &Fault{Code: c, Op: op, Err: fmt.Errorf(format, args...)}
}

func (f *Fault) Error() string {
	if f.Err == nil {
		return fmt.Sprintf("%s: %s", f.Code, f.Op)
	}
	return fmt.Sprintf("%s: %s: %v", f.Code, f.Op, f.Err)
}

func (f *Fault) Unwrap() error { return f.Err }

// Class is the class of the fault's code.
func (f *Fault) Class() Class { return ClassOf(f.Code) }

// From returns err's fault, or wraps it as Internal.
func From(err error) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return New(Internal, "unclassified error", err)
}
