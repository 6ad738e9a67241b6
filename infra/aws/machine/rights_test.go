package machine_test

import (
	"flag"
	"path/filepath"
	"testing"

	"fallbackchain.io/fallback/infra/aws/rights"
)

var updateRights = flag.Bool("update-rights", false, "add the rights that the functions used to infra/aws/rights/recorded.txt")

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
	if *updateRights && !t.Failed() {
		if err := rights.Record(path, used); err != nil {
			t.Fatal(err)
		}
		have = used
	}
	for _, r := range rights.Minus(used, have) {
		t.Errorf("%s is not recorded: -update-rights writes it down", r)
	}
	// No error: some calls are made in some races only.
	for _, r := range rights.Minus(have, used) {
		t.Logf("%s is recorded and was not used this time", r)
	}
}
