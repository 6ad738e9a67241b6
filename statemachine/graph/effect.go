package graph

import "slices"

// EffectKind is what a state does to the world or to the run, as far as the proof needs to know it.
type EffectKind string

// The effects. A state has an effect from the moment it is entered, unless Effect.When names the phases that give it.
const (
	// TakesLease and ReleasesLease work on the workload's lease.
	TakesLease    EffectKind = "takes the lease"
	ReleasesLease EffectKind = "releases the lease"
	// OpensJournal: from here on, every change is written down before it is made.
	OpensJournal EffectKind = "opens the journal"
	// CapturesRollbackPoint: what must be known to undo every change is known.
	CapturesRollbackPoint EffectKind = "captures the rollback point"
	// TakesSnapshots makes VolumeSnapshots, which change nothing of the workload.
	TakesSnapshots EffectKind = "takes snapshots"

	// ChangesTarget changes the namespace the run works on: the workload's own in recover, the drill's in drill.
	ChangesTarget EffectKind = "changes the target"
	// ChangesSource changes the workload in production (or the old primary) from which a run restores.
	ChangesSource EffectKind = "changes the source"
	// Isolates, VerifiesIsolation and LiftsIsolation work on the quarantine.
	Isolates          EffectKind = "isolates"
	VerifiesIsolation EffectKind = "verifies the isolation"
	LiftsIsolation    EffectKind = "lifts the isolation"
	// Restores brings a copy of the workload and its data into the target.
	Restores EffectKind = "restores"
	// Degrades runs the workload with less than it was made for.
	Degrades EffectKind = "degrades"
	// EntersTier begins a recovery tier; the tier's rank stands in the state.
	EntersTier EffectKind = "enters a tier"
	// PassesGate: the application answered a read-only transaction as the plan expects.
	PassesGate EffectKind = "passes the gate"
	// RollsBack and TearsDown undo every change in the journal.
	RollsBack EffectKind = "rolls back"
	TearsDown EffectKind = "tears down"

	// ShiftsTraffic, VerifiesTraffic and RevertsTraffic work on what clients resolve.
	ShiftsTraffic   EffectKind = "shifts traffic"
	VerifiesTraffic EffectKind = "verifies traffic"
	RevertsTraffic  EffectKind = "reverts traffic"
	// Fences keeps the old primary from writing; Unfences lets it again.
	Fences   EffectKind = "fences the old primary"
	Unfences EffectKind = "unfences the old primary"
	// Promotes makes the standby's storage writable; DemotesStorage makes it a replica again.
	Promotes       EffectKind = "promotes storage"
	DemotesStorage EffectKind = "demotes storage"
	// AsksApproval waits for a person; such a task is not retried.
	AsksApproval EffectKind = "asks for approval"

	// Reports writes the report.
	Reports EffectKind = "reports"
)

// Change tells whether the effect changes something outside the run: everything but looking, proving and reporting.
func (k EffectKind) Change() bool {
	return slices.Contains([]EffectKind{TakesLease, ReleasesLease, TakesSnapshots, ChangesTarget, ChangesSource, Isolates, LiftsIsolation,
		Restores, Degrades, RollsBack, TearsDown, ShiftsTraffic, RevertsTraffic, Fences, Unfences, Promotes, DemotesStorage}, k)
}

// NeedsUndo tells whether a change must name its compensation. The lease is released, snapshots are kept, and
// compensations are not compensated themselves.
func (k EffectKind) NeedsUndo() bool {
	return slices.Contains([]EffectKind{ChangesTarget, ChangesSource, Isolates, Restores, Degrades, ShiftsTraffic, Fences, Promotes}, k)
}

// Effect is one effect of a state.
type Effect struct {
	Kind EffectKind
	// When are the phases that give the effect; none means from entering on, whether the state faults or not.
	When []string
	// Modes limits the effect to some modes; none means all.
	Modes []string
	// Undo are the effects that compensate a change. For a compensation it is empty.
	Undo []EffectKind
}

// In tells whether the effect is there in a mode.
func (e Effect) In(mode string) bool { return len(e.Modes) == 0 || slices.Contains(e.Modes, mode) }

// OnEntry tells whether the effect is there as soon as the state is entered.
func (e Effect) OnEntry() bool { return len(e.When) == 0 }

// Gives tells whether a phase gives the effect.
func (e Effect) Gives(phase string) bool { return slices.Contains(e.When, phase) }
