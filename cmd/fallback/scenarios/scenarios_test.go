// Package scenarios shows every path of the chain on the real local stack: break something, run, and read back what came of
// it — the outcome, the tiers it went through, the rows in the database, and what was left behind.
package scenarios

import (
	"testing"

	"fallbackchain.io/fallback/cmd/fallback/scenarios/testbed"
)

// world is the one stack that all scenarios use, one after the other.
type world struct{ *testbed.Bed }

var theWorld *world

func TestMain(m *testing.M) {
	testbed.Main(m, "scenarios", func(b *testbed.Bed) { theWorld = &world{b} })
}
