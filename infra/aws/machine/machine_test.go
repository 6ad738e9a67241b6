// Package machine_test runs the deployed state machine with the built functions: an event goes in, a report in S3 comes out.
// What AWS is here, nobody here wrote: moto, and its Step Functions engine; the cluster is the local control plane, and who
// may enter it aws-iam-authenticator says.
package machine_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"fallbackchain.io/fallback/functions/intake"
	"fallbackchain.io/fallback/functions/seal"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/signal"
)

func TestMachine(t *testing.T) {
	b := newBed(t)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	t.Run("an evaluation on schedule, delivered twice", func(t *testing.T) {
		event := b.schedule(t, run.Evaluate, "shop", at)
		started := b.begin(t, event)
		var again intake.Result
		b.invoke(t, "IntakeFunction", event, &again)
		if again.Action != intake.AlreadyStarted || again.RunID != started.RunID {
			t.Errorf("the second delivery: %+v", again)
		}
		r := b.ends(t, started.ExecutionARN, "Evaluated")
		if r.Outcome != run.Evaluated || len(r.Signals) == 0 || len(r.Changes) != 0 {
			t.Errorf("the report: %s, %v, %v", r.Outcome, r.Signals, r.Changes)
		}
	})
	t.Run("a recover that a person starts, with a demotion", func(t *testing.T) {
		b.breakIt(t, "objects-deleted")
		execution := b.startByHand(t, run.Recover)
		r := b.ends(t, execution, "Recovered")
		var tiers []string
		for _, tier := range r.Tiers {
			if tier.Phase != "NotTaken" {
				tiers = append(tiers, tier.Name+" "+tier.Phase)
			}
		}
		if want := []string{"VolumeAttachmentSync Failed", "ControlPlaneReconcile Succeeded"}; !slices.Equal(tiers, want) {
			t.Errorf("tiers %v, want %v", tiers, want)
		}
		b.wantOrders(t)
		b.silent(t, execution)
	})
	for _, next := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"a function is killed before a change", b.killed},
		{"a function is killed after its change", b.lost},
		{"a function is killed while it puts back", b.dirty},
		{"somebody stops it", b.stopped},
		{"the machine times out", b.timedOut},
		// The API server looks at a token again after ten seconds: assess has not been there since the recover.
		{"throttled, and every token expires", b.throttledAndExpired},
		{"the API server throttles", b.throttledByAPIServer},
		{"a drill on schedule, from a sealed backup", b.drill},
		{"started beside itself under another name", b.misnamed},
		{"stopped, and redriven while the janitor waits", b.redriven},
		{"stopped, finished, redriven, and stopped again", b.finishedAndRedriven},
		{"stopped, rolled back, and redriven", b.rolledBackAndRedriven},
		{"its report cannot be written, and it is redriven", b.reportFailed},
		{"an alarm that is over", b.heldDown},
		{"an alarm and a schedule at once", b.atOnce},
		{"functions are killed in every tier", b.everyTier},
	} {
		t.Run(next.name, next.do)
	}
	t.Run("tokens", b.tokens)
	t.Run("every function came as itself", b.identities)
	t.Run("rights", b.rights)
}

// drill restores the sealed backup beside production, on schedule.
func (b *bed) drill(t *testing.T) {
	if sealed := <-b.sealed; sealed.Action != seal.Sealed {
		t.Fatalf("the backup is not sealed: %+v", sealed)
	}
	before := b.versions(t, sample.Namespace)
	var there []string
	b.on(t, run.Drill, "gate", "ready", func(r run.Run) awstest.Mishap { there = b.left(t, r.ID); return awstest.None })
	started := b.begin(t, b.schedule(t, run.Drill, "shop-velero", time.Now().Add(-time.Hour)))
	r := b.ends(t, started.ExecutionARN, "Recovered")
	if r.Backup == nil || r.Backup.Name != backup || r.Backup.Integrity != string(signal.True) {
		t.Errorf("the backup: %+v", r.Backup)
	}
	if r.Outcome != run.Recovered || r.Gate == nil || r.Gate.Phase != run.Passed || len(r.Changes) == 0 {
		t.Errorf("the report: %s, gate %+v, %d changes", r.Outcome, r.Gate, len(r.Changes))
	}
	if after := b.versions(t, sample.Namespace); !maps.Equal(before, after) {
		t.Errorf("production was touched: %v, then %v", before, after)
	}
	for _, kind := range []string{"namespaces ", "persistentvolumes ", "persistentvolumeclaims ", "restores "} {
		if !slices.ContainsFunc(there, func(l string) bool { return strings.HasPrefix(l, kind) }) {
			t.Errorf("before the gate there was no %sof the run, only %v: that none is left shows nothing", kind, there)
		}
	}
	b.nothingLeft(t, started.RunID)
}
