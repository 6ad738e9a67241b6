package machine_test

import (
	"flag"
	"path/filepath"
	"testing"

	"fallbackchain.io/fallback/infra/aws/rights"
	"fallbackchain.io/fallback/infra/recorded"
)

var updateRights = flag.Bool("update-rights", false, "write the rights that the functions used to infra/aws/rights/recorded.txt; when all tests ran, remove what none used")

// rights: IAM would have allowed every call of a function, and what allowed it is recorded. infra/aws/rights holds the record against
// what the template grants.
func (b *bed) rights(t *testing.T) {
	for _, u := range b.recorder.Unknown() {
		t.Errorf("a call that nothing can judge: %s", u)
	}
	used, refused := rights.Used(b.functions, b.recorder.Calls())
	for _, r := range refused {
		t.Errorf("IAM would refuse %s", r)
	}
	path := filepath.Join("..", "rights", "recorded.txt")
	have, err := rights.Recorded(path)
	if err != nil {
		t.Fatal(err)
	}
	// What a test did not come to, or a choice of tests left out, was not used for that reason.
	partial := recorded.Partial(flag.CommandLine)
	if t.Failed() || b.t.Failed() {
		partial = "a test failed"
	}
	if *updateRights && !t.Failed() {
		have = have.Updated(used, partial == "")
		if err := rights.Record(path, have); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range rights.Minus(used, have.Lines(rights.Compare)) {
		t.Errorf("%s is not recorded: -update-rights writes it down", r)
	}
	for _, r := range have.Stale(used, rights.Compare) {
		if partial != "" {
			t.Logf("%s is recorded and was not used this time: %s", r, partial)
			continue
		}
		t.Errorf("%s is recorded and no test uses it: -update-rights removes it", r)
	}
}
