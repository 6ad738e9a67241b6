// Package limits holds the minimum, default and cap of every duration of a plan, and the timing constants that the state
// machine and the functions share. The plan's validation and the graph's proof read the same table, so a plan that
// validates cannot outlive its lease or its execution. Standard library only.
package limits

import (
	"slices"
	"time"
)

// The nested time limits of a step: a call's slice ends before its function times out, which ends before the state
// machine gives the task up, so that no task is retried or caught while its function still runs.
const (
	// Slice is the longest that one call of an Await may watch before it returns Running.
	Slice = 45 * time.Second
	// FunctionTimeout is the timeout of every function that is a task of the graph.
	FunctionTimeout = 60 * time.Second
	// TaskTimeout is TimeoutSeconds of every task.
	TaskTimeout = 75 * time.Second
	// MinRound is the shortest time in which a call may return Running; together with the caps it bounds the number of
	// history events of an execution.
	MinRound = 40 * time.Second
	// MachineTimeout is TimeoutSeconds of the whole state machine. At least the worst path at the caps.
	MachineTimeout = 15 * time.Hour
	// LeaseDuration is spec.leaseDurationSeconds of a workload's lease. Longer than MachineTimeout.
	LeaseDuration = 16 * time.Hour
)

// Paths of the plan fields that bound a wait of the graph, and of the two waits that no plan changes.
const (
	APIServerWait               = "spec.apiServerWait"
	VolumeAttachmentSyncBudget  = "spec.tiers.volumeAttachmentSync.budget"
	ControlPlaneReconcileBudget = "spec.tiers.controlPlaneReconcile.budget"
	DegradedStatefulSetBudget   = "spec.tiers.degradedStatefulSet.budget"
	GateBudget                  = "spec.gate.budget"
	QuarantineBudget            = "spec.quarantine.budget"
	RestoreBudget               = "spec.drill.restoreBudget"
	TeardownBudget              = "spec.drill.teardownBudget"
	RollbackBudget              = "spec.rollback.budget"
	HoldDown                    = "spec.triggers.holdDown"
	// The waits below are not in the plan: their minimum, default and cap are one value.
	LeaseWait         = "fixed.leaseWait"
	RollbackPointWait = "fixed.rollbackPointWait"
	// RestorePointWait is the time for choosing and verifying a backup, RehearsalWait that for a restore's dry run.
	RestorePointWait = "fixed.restorePointWait"
	RehearsalWait    = "fixed.rehearsalWait"
)

// Limit bounds one duration of the plan.
type Limit struct {
	// Path is the field as it stands in a plan, e.g. "spec.gate.budget"; it begins with "fixed." when no plan sets it.
	Path string
	// Min and Cap bound the value, both allowed. Default stands in when the plan does not say; 0 means that there is none.
	Min, Default, Cap time.Duration
}

// Fixed tells whether the value is the program's own, not the plan's.
func (l Limit) Fixed() bool { return l.Min == l.Cap }

// Allows tells whether d is within the limits.
func (l Limit) Allows(d time.Duration) bool { return d >= l.Min && d <= l.Cap }

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
)

// table is the one place where these values are written down.
func table() []Limit {
	return []Limit{
		{APIServerWait, 5 * second, 5 * minute, 15 * minute},
		{"spec.drill.restoreBudget", 10 * second, 1 * hour, 2 * hour},
		{"spec.drill.teardownBudget", 10 * second, 15 * minute, 1 * hour},
		{"spec.gate.budget", 10 * second, 10 * minute, 30 * minute},
		{"spec.gate.stability", 0, 30 * second, 10 * minute},
		{"spec.inventory.velero.restorePoint.randomWithin", 1 * minute, 0, 8760 * hour},
		{"spec.inventory.maxAge", 1 * minute, 48 * hour, 8760 * hour},
		{"spec.objectives.rpo", 1 * second, 0, 8760 * hour},
		{"spec.objectives.rto", 1 * second, 0, 8760 * hour},
		{"spec.quarantine.budget", 5 * second, 5 * minute, 15 * minute},
		{"spec.rollback.budget", 10 * second, 30 * minute, 1 * hour},
		{"spec.tiers.controlPlaneReconcile.budget", 10 * second, 20 * minute, 1 * hour},
		{"spec.tiers.degradedStatefulSet.budget", 10 * second, 20 * minute, 1 * hour},
		{"spec.tiers.failedSchedulingPersistence", 1 * second, 2 * minute, 30 * minute},
		{"spec.tiers.volumeAttachmentSync.budget", 10 * second, 15 * minute, 1 * hour},
		{"spec.tiers.volumeAttachmentSync.stuckAfter", 1 * second, 2 * minute, 30 * minute},
		{"spec.triggers.coolDown", 0, 30 * minute, 168 * hour},
		{"spec.triggers.holdDown", 0, 2 * minute, 1 * hour},
		{"spec.workload.database.statementTimeout", 100 * time.Millisecond, 10 * second, 30 * second},
		{LeaseWait, 15 * minute, 15 * minute, 15 * minute},
		{RehearsalWait, 5 * minute, 5 * minute, 5 * minute},
		{RestorePointWait, 5 * minute, 5 * minute, 5 * minute},
		{RollbackPointWait, 15 * minute, 15 * minute, 15 * minute},
	}
}

// All returns every limit, sorted by path.
func All() []Limit {
	t := table()
	slices.SortFunc(t, func(a, b Limit) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return t
}

// Get returns the limit of a path; ok is false when the path has none.
func Get(path string) (l Limit, ok bool) {
	for _, l := range table() {
		if l.Path == path {
			return l, true
		}
	}
	return Limit{}, false
}

// Caps returns the cap of every path.
func Caps() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, l := range table() {
		out[l.Path] = l.Cap
	}
	return out
}
