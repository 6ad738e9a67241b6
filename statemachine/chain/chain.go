// Package chain holds the fallback graph as data. Read it beside the flowchart:
//
//	assess → CSI driver healthy and PVC bound (or waiting for its first consumer)? → VolumeAttachmentSync
//	       → else an inventory verified and API server ready? → ControlPlaneReconcile
//	       → else quarantine, verified → DegradedStatefulSet
//	each tier: fails, runs out of budget, or cannot be scheduled → assess again → next tier
//	all tiers → application validation gate → read-only transaction passes?  no → roll back
//
// To add a tier: a signal or two in Vars, a rule in ChooseTier at its place, a Tier node with its rank, and a budget in
// shared/plan/limits. The proof then says what is missing.
package chain

import (
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

// Ranks of the tiers: the greater is preferred.
const (
	rankDegraded = iota + 1
	rankControlPlane
	rankVolumes
)

// Fallback returns a new copy of THE graph.
func Fallback() *Graph {
	g := &Graph{
		Name:    "fallback",
		Comment: "Fallback Chain: recovers a stateful workload, or proves in a drill that it can be recovered.",
		Start:   "Admit",
		Mode:    "$.mode", Modes: []string{evaluate, recovery, drill},
		Refused: []string{string(run.Failover), string(run.Failback)},
		Outcome: "$.outcome.name",
		Vars:    vars(), ServiceRetry: serviceRetry(), FaultRetry: faultRetry(), Classes: classes(),
		Timing: timing(), Caps: limits.Caps(), Outside: []string{"intake", "janitor"},
	}
	g.Nodes = []Node{
		// Is there something to do, and may this run do it?
		{Name: "Admit", Kind: Task, Call: "admit/admit", Section: "admit",
			On: on("Admitted", "ByMode", "Hold", "HoldDown", "Skipped", "Skipped"), Fault: "Refused"},
		{Name: "HoldDown", Kind: Wait, TimestampPath: "$.admit.holdUntil", WaitBudget: limits.HoldDown, Next: "ConfirmAlarm"},
		{Name: "ConfirmAlarm", Kind: Task, Call: "admit/confirm", Section: "admit",
			On: on("Admitted", "ByMode", "Skipped", "Skipped"), Fault: "Refused"},
		{Name: "ByMode", Kind: Choice, Rules: []Rule{
			{When: mode(evaluate), Next: "AssessOnly"},
			{When: cond.Any(mode(recovery), mode(drill)), Next: "TakeLease"}}, Default: "Refused"},

		// evaluate: look, change nothing.
		{Name: "AssessOnly", Kind: Await, Call: "assess/assess", Section: "assess", Budget: limits.APIServerWait,
			On: on("Assessed", "OutcomeEvaluated", "Unreadable", "OutcomeAbortedNoLease"), Fault: "OutcomeAbortedNoLease"},

		// What must hold before the first change.
		{Name: "TakeLease", Kind: Await, Call: "lease/acquire", Section: "lease", Budget: limits.LeaseWait,
			On: on("Held", "CaptureRollbackPoint", "Busy", "OutcomeAborted"), Fault: "OutcomeAborted",
			Effects: []Effect{{Kind: graph.TakesLease, When: []string{"Held"}}}},
		{Name: "CaptureRollbackPoint", Kind: Await, Call: "rollbackpoint/capture", Section: "rollbackpoint", Budget: limits.RollbackPointWait,
			On: on("Captured", "RecoverOrDrill", "Failed", "OutcomeAborted"), Fault: "OutcomeAborted",
			Effects: []Effect{{Kind: graph.TakesSnapshots, Modes: []string{recovery}},
				{Kind: graph.OpensJournal, When: []string{"Captured"}}, {Kind: graph.CapturesRollbackPoint, When: []string{"Captured"}}}},
		{Name: "RecoverOrDrill", Kind: Choice, Rules: []Rule{
			{When: mode(recovery), Next: "AssessCluster"},
			{When: mode(drill), Next: "IsolateDrill"}}, Default: "OutcomeAborted"},

		// drill: a closed namespace first, then the backup into it.
		{Name: "IsolateDrill", Kind: Task, Call: "quarantine/apply", Section: "quarantine", Next: "VerifyDrillIsolation",
			Fault: "TeardownAfterFailure", Dirty: "OutcomeDirty", Effects: []Effect{{Kind: graph.Isolates, Undo: undone()}}},
		{Name: "VerifyDrillIsolation", Kind: Await, Call: "quarantine/check", Section: "quarantine", Budget: limits.QuarantineBudget,
			On:    on("Verified", "RestoreIntoQuarantine", "Broken", "TeardownAfterFailure"),
			Fault: "TeardownAfterFailure", Dirty: "OutcomeDirty", Effects: verifies()},
		{Name: "RestoreIntoQuarantine", Kind: Tier, Call: "restore/start", Section: "restore", Budget: limits.RestoreBudget,
			AwaitName: "AwaitRestore", AwaitCall: "restore/await",
			On:    on("Succeeded", "AssessCluster", "Failed", "TeardownAfterFailure"),
			Fault: "TeardownAfterFailure", Dirty: "OutcomeDirty", Effects: []Effect{{Kind: graph.Restores, Undo: undone()}}},

		// The ladder.
		{Name: "AssessCluster", Kind: Await, Call: "assess/assess", Section: "assess", Budget: limits.APIServerWait,
			On: on("Assessed", "ChooseTier", "Unreadable", "GiveUp"), Fault: "GiveUp"},
		{Name: "ChooseTier", Kind: Choice, Ordered: true, Rules: []Rule{
			{When: cond.All(yes("CSIDriverHealthy"), yes("PVCsBound"), enabled("VolumeAttachmentSync")), Next: "VolumeAttachmentSync"},
			{When: cond.All(yes("InventoryVerified"), cond.OneOf(status("EtcdSnapshotVerified"), "True", "NotApplicable"), yes("APIServerReady"),
				enabled("ControlPlaneReconcile")), Next: "ControlPlaneReconcile"},
			{When: enabled("DegradedStatefulSet"), Next: "IsolateWorkload", Tier: "DegradedStatefulSet"}}, Default: "GiveUp"},
		{Name: "VolumeAttachmentSync", Kind: Tier, Rank: rankVolumes, Call: "volumesync/start", Section: "volumesync",
			AwaitName: "AwaitVolumeAttachmentSync", AwaitCall: "volumesync/await", Budget: limits.VolumeAttachmentSyncBudget,
			On: on("Succeeded", "ApplicationGate", "Failed", ""), Demote: reassess(), Stop: "GiveUp", Dirty: "OutcomeDirty",
			FaultPath: "$.demotions.VolumeAttachmentSync.fault", Effects: changes()},
		{Name: "ControlPlaneReconcile", Kind: Tier, Rank: rankControlPlane, Call: "controlplane/start", Section: "controlplane",
			AwaitName: "AwaitControlPlaneReconcile", AwaitCall: "controlplane/await", Budget: limits.ControlPlaneReconcileBudget,
			On: on("Succeeded", "ApplicationGate", "Failed", ""), Demote: reassess(), Stop: "GiveUp", Dirty: "OutcomeDirty",
			FaultPath: "$.demotions.ControlPlaneReconcile.fault", Effects: changes()},
		{Name: "IsolateWorkload", Kind: Task, Call: "quarantine/apply", Section: "quarantine", Next: "VerifyIsolation",
			Fault: "GiveUp", Dirty: "OutcomeDirty", Effects: []Effect{{Kind: graph.Isolates, Undo: undone()}}},
		{Name: "VerifyIsolation", Kind: Await, Call: "quarantine/check", Section: "quarantine", Budget: limits.QuarantineBudget,
			On: on("Verified", "DegradedStatefulSet", "Broken", "GiveUp"), Fault: "GiveUp", Dirty: "OutcomeDirty", Effects: verifies()},
		{Name: "DegradedStatefulSet", Kind: Tier, Rank: rankDegraded, Call: "degraded/start", Section: "degraded",
			AwaitName: "AwaitDegradedStatefulSet", AwaitCall: "degraded/await", Budget: limits.DegradedStatefulSetBudget,
			On: on("Succeeded", "ApplicationGate", "Failed", "GiveUp"), Fault: "GiveUp", Dirty: "OutcomeDirty",
			FaultPath: "$.demotions.DegradedStatefulSet.fault",
			Effects:   []Effect{{Kind: graph.ChangesTarget, Undo: undone()}, {Kind: graph.Degrades, Undo: undone()}}},

		// The application decides.
		{Name: "ApplicationGate", Kind: Await, Call: "gate/ready", Section: "gate", Budget: limits.GateBudget,
			On: on("Ready", "ReadOnlyTransaction", "NotReady", "GiveUp"), Fault: "GiveUp"},
		{Name: "ReadOnlyTransaction", Kind: Await, Call: "gate/transaction", Section: "gate", Budget: limits.GateBudget,
			On: on("Passed", "AfterGate", "Refused", "GiveUp"), Fault: "GiveUp",
			Effects: []Effect{{Kind: graph.PassesGate, When: []string{"Passed"}}}},
		{Name: "AfterGate", Kind: Choice, Ordered: true, Rules: []Rule{
			{When: mode(drill), Next: "TeardownAfterPass"},
			{When: cond.Present("$.quarantine"), Next: "LiftQuarantine"}}, Default: "OutcomeRecovered"},
		{Name: "LiftQuarantine", Kind: Await, Call: "quarantine/lift", Section: "quarantine", Budget: limits.QuarantineBudget,
			On: on("Lifted", "OutcomeRecovered", "Broken", "OutcomeDirty"), Fault: "OutcomeDirty",
			Effects: []Effect{{Kind: graph.LiftsIsolation, When: []string{"Lifted"}}}},

		// Putting back.
		{Name: "GiveUp", Kind: Choice, Rules: []Rule{{When: mode(drill), Next: "TeardownAfterFailure"}}, Default: "Rollback"},
		{Name: "Rollback", Kind: Tier, Call: "rollback/start", Section: "rollback", Budget: limits.RollbackBudget,
			AwaitName: "AwaitRollback", AwaitCall: "rollback/await",
			On:    on("Undone", "OutcomeRolledBack", "NothingToUndo", "OutcomeAborted", "Incomplete", "OutcomeDirty"),
			Fault: "OutcomeDirty", Effects: []Effect{{Kind: graph.RollsBack, When: []string{"Undone", "NothingToUndo"}}}},
		{Name: "TeardownAfterFailure", Kind: Tier, Call: "teardown/start", Section: "teardown", Budget: limits.TeardownBudget,
			AwaitName: "AwaitTeardownAfterFailure", AwaitCall: "teardown/await",
			On:    on("Undone", "OutcomeRolledBack", "NothingToUndo", "OutcomeAborted", "Incomplete", "OutcomeDirty"),
			Fault: "OutcomeDirty", Effects: tearsDown()},
		{Name: "TeardownAfterPass", Kind: Tier, Call: "teardown/start", Section: "teardown", Budget: limits.TeardownBudget,
			AwaitName: "AwaitTeardownAfterPass", AwaitCall: "teardown/await",
			On:    on("Undone", "OutcomeRecovered", "NothingToUndo", "OutcomeRecovered", "Incomplete", "OutcomeDirty"),
			Fault: "OutcomeDirty", Effects: tearsDown()},

		// The outcome, the lease, the report.
		outcome("OutcomeEvaluated", run.Evaluated, "Report"),
		outcome("OutcomeRecovered", run.Recovered, "ReleaseLease"),
		outcome("OutcomeRolledBack", run.RolledBack, "ReleaseLease"),
		outcome("OutcomeAborted", run.Aborted, "ReleaseLease"),
		outcome("OutcomeAbortedNoLease", run.Aborted, "Report"),
		outcome("OutcomeDirty", run.Dirty, "Report"),
		{Name: "ReleaseLease", Kind: Task, Call: "lease/release", Section: "lease", Next: "Report", Fault: "OutcomeDirty",
			Effects: []Effect{{Kind: graph.ReleasesLease}}},
		{Name: "Report", Kind: Task, Call: "report/report", Section: "report", Next: "ByOutcome", Fault: "ReportFailed",
			Effects: []Effect{{Kind: graph.Reports}}},
		{Name: "ByOutcome", Kind: Choice, Rules: []Rule{
			{When: ended(run.Evaluated), Next: "Evaluated"}, {When: ended(run.Recovered), Next: "Recovered"},
			{When: ended(run.RolledBack), Next: "RolledBack"}, {When: ended(run.Aborted), Next: "Aborted"}}, Default: "Dirty"},
		{Name: "Evaluated", Kind: Succeed},
		{Name: "Recovered", Kind: Succeed},
		{Name: "Skipped", Kind: Succeed},
		{Name: "RolledBack", Kind: Fail, Cause: "The workload was not recovered; every change was undone."},
		{Name: "Aborted", Kind: Fail, Cause: "The workload was not recovered; nothing was changed."},
		{Name: "Dirty", Kind: Fail, Cause: "Someone must look: the lease is kept until fallback resolve."},
		{Name: "Refused", Kind: Fail, Cause: "The run was not admitted: its plan, mode or input is not acceptable; nothing was changed."},
		{Name: "ReportFailed", Kind: Fail, Cause: "The run ended, and its report could not be written."},
	}
	return g
}
