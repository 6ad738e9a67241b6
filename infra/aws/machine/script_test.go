package machine_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/run"
)

// script says what becomes of invocations; each line once.
type script struct {
	mu    sync.Mutex
	lines map[step]func(run.Run) awstest.Mishap
}

// step is an operation of a function, in a run of a mode.
type step struct {
	mode         run.Mode
	function, op string
}

// decide is a Host's Decide.
func (s *script) decide(function string, payload []byte) awstest.Mishap {
	var req run.Request
	if json.Unmarshal(payload, &req) != nil || req.Op == "" {
		return awstest.None
	}
	at := step{req.Run.Mode, strings.ToLower(strings.TrimSuffix(function[len(stackName)+1:], "Function")), req.Op}
	s.mu.Lock()
	do := s.lines[at]
	delete(s.lines, at)
	s.mu.Unlock()
	if do == nil {
		return awstest.None
	}
	return do(req.Run)
}

// on has the next invocation of a step go through do; the test fails if there is none.
func (b *bed) on(t *testing.T, mode run.Mode, function, op string, do func(run.Run) awstest.Mishap) {
	t.Helper()
	at := step{mode, function, op}
	b.script.mu.Lock()
	defer b.script.mu.Unlock()
	b.script.lines[at] = do
	t.Cleanup(func() {
		b.script.mu.Lock()
		defer b.script.mu.Unlock()
		if _, left := b.script.lines[at]; left {
			t.Errorf("%v was never invoked", at)
			delete(b.script.lines, at)
		}
	})
}

// meets has the next invocation of a step meet a mishap.
func (b *bed) meets(t *testing.T, mode run.Mode, function, op string, m awstest.Mishap) {
	t.Helper()
	b.on(t, mode, function, op, func(run.Run) awstest.Mishap { return m })
}
