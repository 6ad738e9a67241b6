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
func Fallback() *graph.Graph {
	g := &graph.Graph{
		Name:    "fallback",
		Comment: "Fallback Chain: recovers a stateful workload, or proves in a drill that it can be recovered.",
		Start:   "Admit",
		Mode:    "$.mode", Modes: []string{evaluate, recovery, drill},
		Refused: []string{string(run.Failover), string(run.Failback)},
		Outcome: "$.outcome.name",
		Vars:    vars(), ServiceRetry: serviceRetry(), FaultRetry: faultRetry(), Classes: classes(),
		Timing: timing(), Caps: limits.Caps(), Outside: []string{"intake", "janitor", "seal"},
	}
	g.Nodes = []node{
		// Is there something to do, and may this run do it?
		{Name: "Admit", Kind: task, Call: "admit/admit", Section: "admit",
			On: on("Admitted", "ByMode", "Hold", "HoldDown", "Skipped", "Skipped"), Fault: "Refused"},
		{Name: "HoldDown", Kind: wait, TimestampPath: "$.admit.holdUntil", WaitBudget: limits.HoldDown, Next: "ConfirmAlarm"},
		{Name: "ConfirmAlarm", Kind: task, Call: "admit/confirm", Section: "admit",
			On: on("Admitted", "ByMode", "Skipped", "Skipped"), Fault: "Refused"},
		{Name: "ByMode", Kind: choice, Rules: []rule{
			{When: mode(evaluate), Next: "ChooseRestorePointOnly"},
			{When: cond.Any(mode(recovery), mode(drill)), Next: "TakeLease"}}, Default: "Refused"},

		// evaluate: look, change nothing. What is wrong with the backup is a finding, not the end.
		{Name: "ChooseRestorePointOnly", Kind: await, Call: "backup/choose", Section: "backup", Budget: limits.RestorePointWait,
			On: on("Verified", "AssessOnly", "NotApplicable", "AssessOnly", "Failed", "AssessOnly"), Fault: "AssessOnly"},
		{Name: "AssessOnly", Kind: await, Call: "assess/assess", Section: "assess", Budget: limits.APIServerWait,
			On: on("Assessed", "RehearseOnly", "Unreadable", "OutcomeAbortedNoLease"), Fault: "OutcomeAbortedNoLease"},
		{Name: "RehearseOnly", Kind: await, Call: "backup/rehearse", Section: "rehearsal", Budget: limits.RehearsalWait,
			On: on("Passed", "OutcomeEvaluated", "NotApplicable", "OutcomeEvaluated", "Refused", "OutcomeEvaluated"), Fault: "OutcomeEvaluated"},

		// What must hold before the first change.
		{Name: "TakeLease", Kind: await, Call: "lease/acquire", Section: "lease", Budget: limits.LeaseWait,
			On: on("Held", "ChooseRestorePoint", "Busy", "OutcomeAborted"), Fault: "OutcomeAborted",
			Effects: []effect{{Kind: graph.TakesLease, When: []string{"Held"}}}},
		{Name: "ChooseRestorePoint", Kind: await, Call: "backup/choose", Section: "backup", Budget: limits.RestorePointWait,
			On:    on("Verified", "CaptureRollbackPoint", "NotApplicable", "CaptureRollbackPoint", "Failed", "WithoutRestorePoint"),
			Fault: "WithoutRestorePoint"},
		// Without a backup a recover still has the volumes and the degraded tier; a drill has nothing to prove.
		{Name: "WithoutRestorePoint", Kind: choice, Rules: []rule{{When: mode(recovery), Next: "CaptureRollbackPoint"}}, Default: "OutcomeAborted"},
		{Name: "CaptureRollbackPoint", Kind: await, Call: "rollbackpoint/capture", Section: "rollbackpoint", Budget: limits.RollbackPointWait,
			On: on("Captured", "RecoverOrDrill", "Failed", "OutcomeAborted"), Fault: "OutcomeAborted",
			Effects: []effect{{Kind: graph.TakesSnapshots, Modes: []string{recovery}},
				{Kind: graph.OpensJournal, When: []string{"Captured"}}, {Kind: graph.CapturesRollbackPoint, When: []string{"Captured"}}}},
		{Name: "RecoverOrDrill", Kind: choice, Rules: []rule{
			{When: mode(recovery), Next: "AssessCluster"},
			{When: mode(drill), Next: "RehearseRestore"}}, Default: "OutcomeAborted"},

		// drill: what the restore would do, a closed namespace, then the backup into it.
		{Name: "RehearseRestore", Kind: await, Call: "backup/rehearse", Section: "rehearsal", Budget: limits.RehearsalWait,
			On: on("Passed", "IsolateDrill", "NotApplicable", "IsolateDrill", "Refused", "OutcomeAborted"), Fault: "OutcomeAborted"},
		{Name: "IsolateDrill", Kind: task, Call: "quarantine/apply", Section: "quarantine", Next: "VerifyDrillIsolation",
			Fault: "TeardownAfterFailure", Dirty: "OutcomeDirty", Effects: []effect{{Kind: graph.Isolates, Undo: undone()}}},
		{Name: "VerifyDrillIsolation", Kind: await, Call: "quarantine/check", Section: "quarantine", Budget: limits.QuarantineBudget,
			On:    on("Verified", "RestoreIntoQuarantine", "Broken", "TeardownAfterFailure"),
			Fault: "TeardownAfterFailure", Dirty: "OutcomeDirty", Effects: verifies()},
		{Name: "RestoreIntoQuarantine", Kind: tier, Call: "restore/start", Section: "restore", Budget: limits.RestoreBudget,
			AwaitName: "AwaitRestore", AwaitCall: "restore/await",
			On:    on("Succeeded", "AssessCluster", "Failed", "TeardownAfterFailure"),
			Fault: "TeardownAfterFailure", Dirty: "OutcomeDirty", Effects: []effect{{Kind: graph.Restores, Undo: undone()}}},

		// The ladder.
		{Name: "AssessCluster", Kind: await, Call: "assess/assess", Section: "assess", Budget: limits.APIServerWait,
			On: on("Assessed", "ChooseTier", "Unreadable", "GiveUp"), Fault: "GiveUp"},
		{Name: "ChooseTier", Kind: choice, Ordered: true, Rules: []rule{
			{When: cond.All(yes("CSIDriverHealthy"), yes("PVCsBound"), enabled("VolumeAttachmentSync")), Next: "VolumeAttachmentSync"},
			{When: cond.All(yes("InventoryVerified"), cond.OneOf(status("EtcdSnapshotVerified"), "True", "NotApplicable"), yes("APIServerReady"),
				enabled("ControlPlaneReconcile")), Next: "ControlPlaneReconcile"},
			{When: enabled("DegradedStatefulSet"), Next: "IsolateWorkload", Tier: "DegradedStatefulSet"}}, Default: "GiveUp"},
		{Name: "VolumeAttachmentSync", Kind: tier, Rank: rankVolumes, Call: "volumesync/start", Section: "volumesync",
			AwaitName: "AwaitVolumeAttachmentSync", AwaitCall: "volumesync/await", Budget: limits.VolumeAttachmentSyncBudget,
			On: on("Succeeded", "ApplicationGate", "Failed", ""), Demote: reassess(), Stop: "GiveUp", Dirty: "OutcomeDirty",
			FaultPath: "$.demotions.VolumeAttachmentSync.fault", Effects: changes()},
		{Name: "ControlPlaneReconcile", Kind: tier, Rank: rankControlPlane, Call: "controlplane/start", Section: "controlplane",
			AwaitName: "AwaitControlPlaneReconcile", AwaitCall: "controlplane/await", Budget: limits.ControlPlaneReconcileBudget,
			On: on("Succeeded", "ApplicationGate", "Failed", ""), Demote: reassess(), Stop: "GiveUp", Dirty: "OutcomeDirty",
			FaultPath: "$.demotions.ControlPlaneReconcile.fault", Effects: changes()},
		{Name: "IsolateWorkload", Kind: task, Call: "quarantine/apply", Section: "quarantine", Next: "VerifyIsolation",
			Fault: "GiveUp", Dirty: "OutcomeDirty", Effects: []effect{{Kind: graph.Isolates, Undo: undone()}}},
		{Name: "VerifyIsolation", Kind: await, Call: "quarantine/check", Section: "quarantine", Budget: limits.QuarantineBudget,
			On: on("Verified", "DegradedStatefulSet", "Broken", "GiveUp"), Fault: "GiveUp", Dirty: "OutcomeDirty", Effects: verifies()},
		{Name: "DegradedStatefulSet", Kind: tier, Rank: rankDegraded, Call: "degraded/start", Section: "degraded",
			AwaitName: "AwaitDegradedStatefulSet", AwaitCall: "degraded/await", Budget: limits.DegradedStatefulSetBudget,
			On: on("Succeeded", "ApplicationGate", "Failed", "GiveUp"), Fault: "GiveUp", Dirty: "OutcomeDirty",
			FaultPath: "$.demotions.DegradedStatefulSet.fault",
			Effects:   []effect{{Kind: graph.ChangesTarget, Undo: undone()}, {Kind: graph.Degrades, Undo: undone()}}},

		// The application decides.
		{Name: "ApplicationGate", Kind: await, Call: "gate/ready", Section: "gate", Budget: limits.GateBudget,
			On: on("Ready", "ReadOnlyTransaction", "NotReady", "GiveUp"), Fault: "GiveUp"},
		{Name: "ReadOnlyTransaction", Kind: await, Call: "gate/transaction", Section: "gate", Budget: limits.GateBudget,
			On: on("Passed", "AfterGate", "Refused", "GiveUp"), Fault: "GiveUp",
			Effects: []effect{{Kind: graph.PassesGate, When: []string{"Passed"}}}},
		{Name: "AfterGate", Kind: choice, Ordered: true, Rules: []rule{
			{When: mode(drill), Next: "TeardownAfterPass"},
			{When: cond.Present("$.quarantine"), Next: "LiftQuarantine"}}, Default: "OutcomeRecovered"},
		{Name: "LiftQuarantine", Kind: await, Call: "quarantine/lift", Section: "quarantine", Budget: limits.QuarantineBudget,
			On: on("Lifted", "OutcomeRecovered", "Broken", "OutcomeDirty"), Fault: "OutcomeDirty",
			Effects: []effect{{Kind: graph.LiftsIsolation, When: []string{"Lifted"}}}},

		// Putting back.
		{Name: "GiveUp", Kind: choice, Rules: []rule{{When: mode(drill), Next: "TeardownAfterFailure"}}, Default: "Rollback"},
		{Name: "Rollback", Kind: tier, Call: "rollback/start", Section: "rollback", Budget: limits.RollbackBudget,
			AwaitName: "AwaitRollback", AwaitCall: "rollback/await",
			On:    on("Undone", "OutcomeRolledBack", "NothingToUndo", "OutcomeAborted", "Incomplete", "OutcomeDirty"),
			Fault: "OutcomeDirty", Effects: []effect{{Kind: graph.RollsBack, When: []string{"Undone", "NothingToUndo"}}}},
		{Name: "TeardownAfterFailure", Kind: tier, Call: "teardown/start", Section: "teardown", Budget: limits.TeardownBudget,
			AwaitName: "AwaitTeardownAfterFailure", AwaitCall: "teardown/await",
			On:    on("Undone", "OutcomeRolledBack", "NothingToUndo", "OutcomeAborted", "Incomplete", "OutcomeDirty"),
			Fault: "OutcomeDirty", Effects: tearsDown()},
		{Name: "TeardownAfterPass", Kind: tier, Call: "teardown/start", Section: "teardown", Budget: limits.TeardownBudget,
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
		{Name: "ReleaseLease", Kind: task, Call: "lease/release", Section: "lease", Next: "Report", Fault: "OutcomeDirty",
			Effects: []effect{{Kind: graph.ReleasesLease}}},
		{Name: "Report", Kind: task, Call: "report/report", Section: "report", Next: "ByOutcome", Fault: "ReportFailed",
			Effects: []effect{{Kind: graph.Reports}}},
		{Name: "ByOutcome", Kind: choice, Rules: []rule{
			{When: ended(run.Evaluated), Next: "Evaluated"}, {When: ended(run.Recovered), Next: "Recovered"},
			{When: ended(run.RolledBack), Next: "RolledBack"}, {When: ended(run.Aborted), Next: "Aborted"}}, Default: "Dirty"},
		{Name: "Evaluated", Kind: succeed},
		{Name: "Recovered", Kind: succeed},
		{Name: "Skipped", Kind: succeed},
		{Name: "RolledBack", Kind: fail, Cause: "The workload was not recovered; every change was undone."},
		{Name: "Aborted", Kind: fail, Cause: "The workload was not recovered; nothing was changed."},
		{Name: "Dirty", Kind: fail, Cause: "Someone must look: the lease is kept until fallback resolve."},
		{Name: "Refused", Kind: fail, Cause: "The run was not admitted: its plan, mode or input is not acceptable; nothing was changed."},
		{Name: "ReportFailed", Kind: fail, Cause: "The run ended, and its report could not be written."},
	}
	return g
}
