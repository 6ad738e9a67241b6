package limits

import (
	"slices"
	"testing"
)

func TestEveryLimitIsInOrder(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range All() {
		if l.Min > l.Cap || l.Default > l.Cap || (l.Default != 0 && l.Default < l.Min) {
			t.Errorf("%s: want min %s <= default %s <= cap %s", l.Path, l.Min, l.Default, l.Cap)
		}
		if seen[l.Path] {
			t.Errorf("%s is in the table twice", l.Path)
		}
		seen[l.Path] = true
	}
	if !slices.IsSortedFunc(All(), func(a, b Limit) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	}) {
		t.Error("All is not sorted by path")
	}
}

func TestEveryNamedPathHasALimit(t *testing.T) {
	for _, p := range []string{APIServerWait, VolumeAttachmentSyncBudget, ControlPlaneReconcileBudget, DegradedStatefulSetBudget,
		GateBudget, QuarantineBudget, RestoreBudget, TeardownBudget, RollbackBudget, HoldDown, LeaseWait, RollbackPointWait} {
		l, ok := Get(p)
		if !ok {
			t.Errorf("%s has no limit", p)
			continue
		}
		if !l.Allows(l.Cap) || !l.Allows(l.Min) || l.Allows(l.Cap+1) || l.Allows(l.Min-1) {
			t.Errorf("%s: Allows is not [%s, %s]", p, l.Min, l.Cap)
		}
	}
	if _, ok := Get("spec.nothing"); ok {
		t.Error("a path without a limit has one")
	}
}

func TestNestedTimeouts(t *testing.T) {
	if MinRound > Slice || Slice >= FunctionTimeout || FunctionTimeout >= TaskTimeout || MachineTimeout >= LeaseDuration {
		t.Error("want MinRound <= Slice < FunctionTimeout < TaskTimeout, MachineTimeout < LeaseDuration")
	}
}
