package prove_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/prove"
)

// input is what the real graph is proved with: both sides agree.
func input(t testing.TB, g *graph.Graph) prove.Input {
	t.Helper()
	m, err := chain.Fallback().Expand()
	if err != nil {
		t.Fatal(err)
	}
	return prove.Input{Graph: g, Functions: slices.Concat(m.Functions(), m.Outside), Codes: chain.Fallback().Classes}
}

func mustProve(t testing.TB, in prove.Input) prove.Report {
	t.Helper()
	r, err := prove.Prove(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheRealGraphHolds(t *testing.T) {
	r := mustProve(t, input(t, chain.Fallback()))
	for _, v := range r.Verdicts {
		for _, f := range v.Failures {
			t.Errorf("%d %s: %s", v.Number, v.Name, f)
		}
	}
	if len(r.Verdicts) != 11 || r.Configs < r.States {
		t.Errorf("%d verdicts over %d configurations of %d states", len(r.Verdicts), r.Configs, r.States)
	}
	t.Logf("%d states, %d configurations, %d edges; worst %s with %d events by %v", r.States, r.Configs, r.Edges, r.Worst.Time, r.Worst.Events, r.Worst.Path)
}

// path is a witness as text.
func path(f prove.Failure) string {
	var names []string
	for _, s := range f.Witness {
		names = append(names, s.State)
	}
	return strings.Join(names, " ")
}

// through are the states every recover or drill begins with.
const (
	admitted = "Admit AdmitPhase ByMode TakeLease TakeLeasePhase "
	pointed  = "CaptureRollbackPoint CaptureRollbackPointPhase "
	captured = admitted + "ChooseRestorePoint ChooseRestorePointPhase " + pointed
	inDrill  = captured + "RecoverOrDrill RehearseRestore RehearseRestorePhase IsolateDrill "
	looked   = "Admit AdmitPhase ByMode ChooseRestorePointOnly AssessOnly"
	ladder   = captured + "RecoverOrDrill AssessCluster AssessClusterPhase ChooseTier "
	objects  = ladder + "ControlPlaneReconcile AwaitControlPlaneReconcile AwaitControlPlaneReconcilePhase "
	gateEnd  = objects + "ApplicationGate ApplicationGatePhase ReadOnlyTransaction ReadOnlyTransactionPhase "
)

// worst is the drill that is held down, falls through every tier and is torn down.
const worst = "Admit AdmitPhase HoldDown ConfirmAlarm ConfirmAlarmPhase ByMode TakeLease TakeLeasePhase " +
	"ChooseRestorePoint ChooseRestorePointPhase CaptureRollbackPoint CaptureRollbackPointPhase RecoverOrDrill RehearseRestore RehearseRestorePhase IsolateDrill VerifyDrillIsolation VerifyDrillIsolationPhase RestoreIntoQuarantine AwaitRestore AwaitRestorePhase " +
	"AssessCluster AssessClusterPhase ChooseTier VolumeAttachmentSync AwaitVolumeAttachmentSync AwaitVolumeAttachmentSyncPhase DemoteVolumeAttachmentSync " +
	"AssessAfterVolumeAttachmentSync AssessAfterVolumeAttachmentSyncPhase ChooseTierAfterVolumeAttachmentSync " +
	"ControlPlaneReconcile AwaitControlPlaneReconcile AwaitControlPlaneReconcilePhase DemoteControlPlaneReconcile " +
	"AssessAfterControlPlaneReconcile AssessAfterControlPlaneReconcilePhase ChooseTierAfterControlPlaneReconcile " +
	"IsolateWorkload VerifyIsolation VerifyIsolationPhase DegradedStatefulSet AwaitDegradedStatefulSet AwaitDegradedStatefulSetPhase " +
	"ApplicationGate ApplicationGatePhase ReadOnlyTransaction ReadOnlyTransactionPhase AfterGate " +
	"TeardownAfterPass AwaitTeardownAfterPass AwaitTeardownAfterPassPhase OutcomeRecovered ReleaseLease Report ByOutcome Recovered"

// send changes where a phase of a node leads.
func send(g *graph.Graph, node, phase, next string) {
	n := g.Node(node)
	for i := range n.On {
		if n.On[i].Phase == phase {
			n.On[i].Next = next
		}
	}
}

// Each mutation of the real graph breaks exactly one invariant, and the witness shows how.
func TestEachMutationBreaksExactlyOneInvariant(t *testing.T) {
	for _, c := range []struct {
		name    string
		mutate  func(g *graph.Graph, in *prove.Input)
		rule    string
		message string
		mode    string
		witness string
	}{
		{"a budget without a cap", func(g *graph.Graph, _ *prove.Input) { delete(g.Caps, "spec.gate.budget") },
			"every-run-ends", `ApplicationGate waits within the budget "spec.gate.budget", which has no cap`, "", ""},
		{"a target that does not exist", func(g *graph.Graph, _ *prove.Input) { send(g, "AssessOnly", "Unreadable", "Nowhere") },
			"every-run-ends", "AssessOnlyPhase leads to Nowhere, which does not exist", "evaluate", looked + " AssessOnlyPhase"},
		{"a state nobody reaches", func(g *graph.Graph, _ *prove.Input) {
			g.Nodes = append(g.Nodes, graph.Node{Name: "Lonely", Kind: graph.Succeed})
		}, "every-run-ends", "Lonely cannot be reached", "", ""},
		{"a cycle that is no Await loop", func(g *graph.Graph, _ *prove.Input) { send(g, "Rollback", "Incomplete", "Rollback") },
			"every-run-ends", "Rollback can come back to itself outside an Await loop", "", "Rollback AwaitRollback AwaitRollbackPhase Rollback"},

		{"the lowest tier falls to a higher one", func(g *graph.Graph, _ *prove.Input) {
			send(g, "DegradedStatefulSet", "Failed", "ControlPlaneReconcile")
			n := g.Node("ControlPlaneReconcile")
			n.Demote, n.Fault = nil, "GiveUp"
			send(g, "ControlPlaneReconcile", "Failed", "GiveUp")
		}, "tiers-descend", "ControlPlaneReconcile is entered from a tier that is not above it", "recover",
			ladder + "IsolateWorkload VerifyIsolation VerifyIsolationPhase DegradedStatefulSet AwaitDegradedStatefulSet AwaitDegradedStatefulSetPhase ControlPlaneReconcile"},

		{"a broken isolation goes on", func(g *graph.Graph, _ *prove.Input) { send(g, "VerifyIsolation", "Broken", "DegradedStatefulSet") },
			"quarantine-holds", "DegradedStatefulSet runs a degraded workload outside a verified quarantine", "recover",
			ladder + "IsolateWorkload VerifyIsolation VerifyIsolationPhase DegradedStatefulSet"},
		{"a drill restores before its quarantine is proved", func(g *graph.Graph, _ *prove.Input) {
			send(g, "VerifyDrillIsolation", "Broken", "RestoreIntoQuarantine")
		}, "quarantine-holds", "RestoreIntoQuarantine restores outside a verified quarantine in a drill", "drill",
			inDrill + "VerifyDrillIsolation VerifyDrillIsolationPhase RestoreIntoQuarantine"},
		{"a lift that broke counts as lifted", func(g *graph.Graph, _ *prove.Input) { send(g, "LiftQuarantine", "Broken", "OutcomeRecovered") },
			"quarantine-holds", "a run ends Recovered with its quarantine still there", "recover",
			ladder + "IsolateWorkload VerifyIsolation VerifyIsolationPhase DegradedStatefulSet AwaitDegradedStatefulSet AwaitDegradedStatefulSetPhase " +
				"ApplicationGate ApplicationGatePhase ReadOnlyTransaction ReadOnlyTransactionPhase AfterGate LiftQuarantine LiftQuarantinePhase OutcomeRecovered ReleaseLease Report ReportFailed"},

		{"a failed rollback point goes on", func(g *graph.Graph, _ *prove.Input) { send(g, "CaptureRollbackPoint", "Failed", "AssessCluster") },
			"changes-can-be-undone", "Rollback rolls back without a journal", "recover",
			captured + "AssessCluster GiveUp Rollback"},
		{"a busy lease goes on", func(g *graph.Graph, _ *prove.Input) { send(g, "TakeLease", "Busy", "CaptureRollbackPoint") },
			"changes-can-be-undone", "Rollback rolls back without the lease", "recover",
			admitted + pointed + "RecoverOrDrill AssessCluster GiveUp Rollback"},
		{"a change without a compensation", func(g *graph.Graph, _ *prove.Input) { g.Node("VolumeAttachmentSync").Effects[0].Undo = nil },
			"changes-can-be-undone", "VolumeAttachmentSync changes the target and names no compensation", "recover", ladder + "VolumeAttachmentSync"},
		{"a compensation that is not reached from a catch", func(g *graph.Graph, _ *prove.Input) { g.Node("ControlPlaneReconcile").Stop = "OutcomeDirty" },
			"changes-can-be-undone", "ControlPlaneReconcile changes the target and cannot reach a compensation after InputInvalid", "recover",
			ladder + "ControlPlaneReconcile OutcomeDirty"},

		{"a refused transaction passes", func(g *graph.Graph, _ *prove.Input) { send(g, "ReadOnlyTransaction", "Refused", "AfterGate") },
			"gate-decides", "OutcomeRecovered says Recovered without a passed gate", "recover", gateEnd + "AfterGate OutcomeRecovered"},
		{"an application that is not ready passes", func(g *graph.Graph, _ *prove.Input) { send(g, "ApplicationGate", "NotReady", "AfterGate") },
			"gate-decides", "OutcomeRecovered says Recovered without a passed gate", "recover",
			objects + "ApplicationGate ApplicationGatePhase AfterGate OutcomeRecovered"},

		{"a drill that gives up rolls back", func(g *graph.Graph, _ *prove.Input) { g.Node("GiveUp").Rules = nil },
			"modes-keep-their-bounds", "a drill ends RolledBack with the changes of IsolateDrill not torn down", "drill",
			inDrill + "VerifyDrillIsolation VerifyDrillIsolationPhase RestoreIntoQuarantine AwaitRestore AwaitRestorePhase AssessCluster GiveUp " +
				"Rollback AwaitRollback AwaitRollbackPhase OutcomeRolledBack ReleaseLease Report ReportFailed"},
		{"a restore that changes its source", func(g *graph.Graph, _ *prove.Input) {
			n := g.Node("RestoreIntoQuarantine")
			n.Effects = append(n.Effects, graph.Effect{Kind: graph.ChangesSource, Undo: []graph.EffectKind{graph.TearsDown}})
		}, "modes-keep-their-bounds", "RestoreIntoQuarantine changes the source in a drill", "drill",
			inDrill + "VerifyDrillIsolation VerifyDrillIsolationPhase RestoreIntoQuarantine"},
		{"an evaluation takes snapshots", func(g *graph.Graph, _ *prove.Input) {
			n := g.Node("AssessOnly")
			n.Effects = append(n.Effects, graph.Effect{Kind: graph.TakesSnapshots})
		}, "modes-keep-their-bounds", "AssessOnly takes snapshots in evaluate", "evaluate", looked},

		{"an abort keeps the lease", func(g *graph.Graph, _ *prove.Input) { g.Node("OutcomeAborted").Next = "Report" },
			"report-and-release", "a run ends Aborted and keeps the lease", "recover", "Admit AdmitPhase ByMode TakeLease OutcomeAborted Report ReportFailed"},
		{"an evaluation ends without a report", func(g *graph.Graph, _ *prove.Input) { g.Node("AssessOnly").Fault = "Evaluated" },
			"report-and-release", "a run ends Evaluated without a report", "evaluate", looked + " Evaluated"},

		{"tasks without a timeout", func(g *graph.Graph, _ *prove.Input) { g.Timing.Task = 0 },
			"tasks-are-guarded", "Admit has no timeout", "", ""},
		{"no retry of a service error", func(g *graph.Graph, _ *prove.Input) { g.ServiceRetry.MaxAttempts = 0 },
			"tasks-are-guarded", "Admit does not retry Lambda.AWSLambdaException", "", ""},
		{"a task without a catch", func(g *graph.Graph, _ *prove.Input) { g.Node("IsolateDrill").Fault = "" },
			"tasks-are-guarded", "IsolateDrill has no last catch of States.ALL", "", ""},

		{"a lease shorter than the execution", func(g *graph.Graph, _ *prove.Input) { g.Timing.Lease = time.Hour },
			"times-fit", "a lease of 1h0m0s is not longer than the machine timeout of 15h0m0s", "", ""},
		{"a function that outlives its task", func(g *graph.Graph, _ *prove.Input) { g.Timing.Function = 2 * time.Minute },
			"times-fit", "Admit: the function timeout of 2m0s is not below the task timeout of 1m15s", "", ""},
		{"rounds too short for the history", func(g *graph.Graph, _ *prove.Input) { g.Timing.MinRound = 10 * time.Second },
			"times-fit", "the worst history has ", "", ""},
		{"a machine that ends before its worst path", func(g *graph.Graph, _ *prove.Input) { g.Timing.Machine = 2 * time.Hour },
			"times-fit", "the worst path takes ", "drill", worst},
		{"a name that is not legal", func(g *graph.Graph, _ *prove.Input) {
			g.Node("Evaluated").Name = "Evaluated?"
			g.Node("ByOutcome").Rules[0].Next = "Evaluated?"
		}, "times-fit", `the name "Evaluated?" has a character that is not legal`, "", ""},

		{"rules that hold together", func(g *graph.Graph, _ *prove.Input) {
			n := g.Node("ByMode")
			n.Rules[1].When = cond.Any(n.Rules[1].When, cond.Equals("$.mode", "evaluate"))
		}, "choices-are-total", "ByMode is not ordered, and its rules to ChooseRestorePointOnly and TakeLease hold together", "evaluate", "Admit AdmitPhase ByMode"},
		{"a choice without a default", func(g *graph.Graph, _ *prove.Input) { g.Node("RecoverOrDrill").Default = "" },
			"choices-are-total", "RecoverOrDrill has no default", "recover", captured + "RecoverOrDrill"},
		{"a choice reads a section that is not there", func(g *graph.Graph, _ *prove.Input) {
			n := g.Node("AfterGate")
			n.Rules[1].When = cond.Negate(cond.Equals("$.quarantine.phase", "Lifted"))
		}, "choices-are-total", "AfterGate reads $.quarantine.phase: the path leads to nothing, which may not be there", "recover", gateEnd + "AfterGate"},

		{"a function the graph calls and nobody wrote", func(_ *graph.Graph, in *prove.Input) {
			in.Functions = slices.DeleteFunc(in.Functions, func(f string) bool { return f == "gate" })
		}, "both-sides-agree", "function gate is called by the graph but does not exist", "", ""},
		{"a function the template forgot", func(_ *graph.Graph, in *prove.Input) { in.Template = in.Functions[1:] },
			"both-sides-agree", "function admit exists but template.yaml does not name it", "", ""},
		{"a fault code nobody catches", func(_ *graph.Graph, in *prove.Input) {
			in.Codes.Demote = append(slices.Clone(in.Codes.Demote), "NewTrouble")
		},
			"both-sides-agree", "fault NewTrouble is caught nowhere by its name", "", ""},
		{"a code the graph invented", func(g *graph.Graph, _ *prove.Input) { g.FaultRetry.Errors = append(g.FaultRetry.Errors, "Imagined") },
			"both-sides-agree", "the graph catches Imagined, which is no fault code", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := chain.Fallback()
			in := input(t, g)
			c.mutate(g, &in)
			r := mustProve(t, in)
			for _, v := range r.Verdicts {
				if v.Name != c.rule {
					for _, f := range v.Failures {
						t.Errorf("breaks %s too: %s", v.Name, f)
					}
					continue
				}
				if len(v.Failures) == 0 {
					t.Fatalf("%s holds", c.rule)
				}
				f := v.Failures[0]
				if !strings.HasPrefix(f.Message, c.message) || f.Mode != c.mode || path(f) != c.witness {
					t.Errorf("%q in %q by\n%s\nwant %q in %q by\n%s", f.Message, f.Mode, path(f), c.message, c.mode, c.witness)
				}
			}
		})
	}
}

func realGraph() *graph.Graph { return chain.Fallback() }
