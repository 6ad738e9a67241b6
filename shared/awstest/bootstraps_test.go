package awstest

import (
	"os"
	"testing"
)

// TestBootstraps: what was built from the same sources is the same file, and is not built again.
func TestBootstraps(t *testing.T) {
	first := Bootstrap(t, "IntakeFunction")
	before, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(Bootstrap(t, "IntakeFunction"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("%s was built twice: %v", first, err)
	}
	if _, err := Bootstraps(t.Context(), "NoFunction"); err == nil {
		t.Error("a function that there is not was built")
	}
}
