package chain

import (
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan/limits"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

const (
	evaluate = string(run.Evaluate)
	recovery = string(run.Recover)
	drill    = string(run.Drill)
)

// The graph is data; qualified names would bury it.
type (
	node   = graph.Node
	rule   = graph.Rule
	effect = graph.Effect
)

const (
	task    = graph.Task
	await   = graph.Await
	tier    = graph.Tier
	choice  = graph.Choice
	pass    = graph.Pass
	wait    = graph.Wait
	succeed = graph.Succeed
	fail    = graph.Fail
)

// on pairs phases with the nodes they lead to: phase, next, phase, next. A phase that leads to "" ends a tier as a fault does.
func on(pairs ...string) []graph.On {
	var out []graph.On
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, graph.On{Phase: pairs[i], Next: pairs[i+1]})
	}
	return out
}

// undone are the compensations of every change: both work from the journal.
func undone() []graph.EffectKind { return []graph.EffectKind{graph.RollsBack, graph.TearsDown} }

func changes() []effect { return []effect{{Kind: graph.ChangesTarget, Undo: undone()}} }

// verifies: the probe pod is a change too.
func verifies() []effect {
	return append(changes(), effect{Kind: graph.VerifiesIsolation, When: []string{"Verified"}})
}

func tearsDown() []effect {
	return []effect{{Kind: graph.TearsDown, When: []string{"Undone", "NothingToUndo"}}}
}

func reassess() *graph.Demotion {
	return &graph.Demotion{Assess: "AssessCluster", Choose: "ChooseTier"}
}

func mode(m string) cond.Cond { return cond.Equals("$.mode", m) }

func status(name string) cond.Path { return cond.Path("$.assess.signals." + name + ".status") }

func yes(name string) cond.Cond { return cond.Equals(status(name), string(signal.True)) }

func enabled(tier string) cond.Cond { return cond.Is(cond.Path("$.admit.tiers."+tier), true) }

func ended(o run.Outcome) cond.Cond { return cond.Equals("$.outcome.name", string(o)) }

func outcome(name string, o run.Outcome, next string) node {
	return node{Name: name, Kind: pass, Title: "outcome: " + string(o), Result: map[string]string{"name": string(o)}, ResultPath: "$.outcome", Next: next}
}

// vars declares the domain of everything a choice reads in a section, besides its phase.
func vars() []graph.Var {
	var out []graph.Var
	for _, name := range signal.Names {
		out = append(out, graph.Var{Path: status(string(name)), Values: cond.Texts(signal.Statuses...)})
	}
	for _, t := range []string{"VolumeAttachmentSync", "ControlPlaneReconcile", "DegradedStatefulSet"} {
		out = append(out, graph.Var{Path: cond.Path("$.admit.tiers." + t), Values: cond.Flags()})
	}
	return out
}

// serviceRetry repeats what AWS says may fail for a moment
// (https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html#bp-lambda-serviceexception).
func serviceRetry() graph.Retry {
	return graph.Retry{Errors: []string{"Lambda.AWSLambdaException", "Lambda.SdkClientException", "Lambda.ServiceException", "Lambda.TooManyRequestsException"},
		Interval: time.Second, Backoff: 2, MaxAttempts: 3, MaxDelay: 20 * time.Second}
}

// faultRetry repeats what our own steps say may succeed in a moment.
func faultRetry() graph.Retry {
	return graph.Retry{Errors: codes(fault.Retry), Interval: 2 * time.Second, Backoff: 2, MaxAttempts: 3, MaxDelay: 30 * time.Second}
}

func classes() graph.Classes {
	return graph.Classes{Retry: codes(fault.Retry), Demote: codes(fault.Demote), Rollback: codes(fault.Rollback), Abort: codes(fault.Abort), Dirty: codes(fault.Dirty)}
}

func codes(k fault.Class) []string {
	list := fault.Codes(k)
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = string(c)
	}
	return out
}

func timing() graph.Timing {
	return graph.Timing{Slice: limits.Slice, Function: limits.FunctionTimeout, Task: limits.TaskTimeout, MinRound: limits.MinRound,
		Machine: limits.MachineTimeout, Lease: limits.LeaseDuration}
}
