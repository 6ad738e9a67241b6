package machine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/functions/janitor"
	"fallbackchain.io/fallback/functions/janitor/awsio"
	"fallbackchain.io/fallback/infra/aws/rights"
	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/run"
)

// redrive has a dead execution go on where it died.
func (b *bed) redrive(t *testing.T, execution string) {
	t.Helper()
	if _, err := b.sfn.RedriveExecution(t.Context(), &sfn.RedriveExecutionInput{ExecutionArn: aws.String(execution)}); err != nil {
		t.Fatal(err)
	}
}

// redriven: somebody redrives an execution that was stopped, while the janitor waits until its functions are quiet. The event of its
// death comes once more when the run goes on.
func (b *bed) redriven(t *testing.T) {
	execution := b.stopsIn(t, "restore", "await")
	b.quiet()
	b.cloud.Ended(execution, janitor.LongestFunction-10*time.Second)
	event := b.status(t, execution)
	b.delivers(t, event)
	b.until(t, "the janitor begins", func() bool {
		return slices.ContainsFunc(b.recorder.Calls()["janitor"], func(c rights.Call) bool { return strings.Contains(c.String(), idOf(execution)+"/janitor.json") })
	})
	b.redrive(t, execution)
	b.delivers(t, event)
	r := b.ends(t, execution, "Recovered")
	for _, did := range b.finishedSince(t, execution, 0, 2) {
		if did.Action != awsio.Ignored {
			t.Errorf("the janitor did %+v, want nothing", did)
		}
	}
	if n := strings.Count(strings.Join(b.path(t, execution), " "), "AwaitRestore"); n < 2 {
		t.Errorf("it went %v, want AwaitRestore twice", b.path(t, execution))
	}
	if r.FinishedBy != "" {
		t.Errorf("the report says that %s finished the run", r.FinishedBy)
	}
	b.nothingLeft(t, r.Run)
	b.told(t, r.Run, "ABORTED", "", 2) // the event came twice
}

// finishedAndRedriven: an execution that was stopped before its first change is finished; somebody redrives it, and it is stopped again
// when it has made changes. That is another death.
func (b *bed) finishedAndRedriven(t *testing.T) {
	execution := b.stopsIn(t, "admit", "admit")
	b.finishes(t, execution, types.ExecutionStatusAborted, run.Aborted)
	b.on(t, run.Drill, "restore", "start", func(run.Run) awstest.Mishap { b.stop(t, execution); return awstest.None })
	b.redrive(t, execution)
	b.finishes(t, execution, types.ExecutionStatusAborted, run.RolledBack)
}

// rolledBackAndRedriven: the janitor undid everything, and somebody redrives the run in mid-way all the same. It has no lease any more, and
// comes to no change.
func (b *bed) rolledBackAndRedriven(t *testing.T) {
	execution := b.stopsIn(t, "restore", "await")
	b.finishes(t, execution, types.ExecutionStatusAborted, run.RolledBack)
	b.redrive(t, execution)
	r := b.ends(t, execution, "Aborted")
	b.nothingLeft(t, r.Run)
	b.tells(t, execution, r.Run, "Aborted")
}

// reportFailed: the last step fails, and with it the execution. The janitor writes the report. Whoever redrives the execution has it fail
// in the same Fail state again (https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html#redrive-individual-state-behavior):
// the run is finished once more, and nothing is left.
func (b *bed) reportFailed(t *testing.T) {
	b.meets(t, run.Drill, "rollbackpoint", "capture", awstest.Killed)
	b.meets(t, run.Drill, "report", "report", awstest.Killed)
	execution := b.startByHand(t, run.Drill)
	b.finishes(t, execution, types.ExecutionStatusFailed, run.Aborted)
	b.redrive(t, execution)
	b.finishes(t, execution, types.ExecutionStatusFailed, run.Aborted)
	if path := b.path(t, execution); !slices.Equal(path[len(path)-2:], []string{"ReportFailed", "ReportFailed"}) {
		t.Errorf("it went %v, want ReportFailed twice", path)
	}
}
