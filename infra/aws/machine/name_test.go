package machine_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/shared/run"
)

// misnamed: a person types a run's input into the console, and leaves the name that it proposes. Beside the run of that ID, which has the
// lease, it would pass for the same run: it is refused, and changes nothing.
func (b *bed) misnamed(t *testing.T) {
	execution := b.startByHand(t, run.Drill)
	id := idOf(execution)
	out, err := b.sfn.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: aws.String(b.machine), Name: aws.String("0f9b2a6e-7d1c-4a53-9d0e-3c1f5b7a8e42"),
		Input: aws.String(string(manual(t, run.Drill, id)))})
	if err != nil {
		t.Fatal(err)
	}
	other := aws.ToString(out.ExecutionArn)
	if x, path := b.await(t, other), b.path(t, other); aws.ToString(x.Error) != "Refused" || !slices.Equal(path, []string{"Admit", "Refused"}) {
		t.Errorf("under another name it ended %s (%s) and went %v, want Refused from Admit", x.Status, aws.ToString(x.Error), path)
	}
	r := b.ends(t, execution, "Recovered")
	if len(r.Changes) == 0 {
		t.Error("the report of the run knows of no change: nothing was shown")
	}
	b.nothingLeft(t, id)
}
