package scenario

import (
	"context"
	"encoding/json"
	"fmt"

	"fallbackchain.io/fallback/statemachine/walk"
)

// Handlers returns one handler for each function: together they give the scenario's answers in their order, and refuse a call
// that is not the next one.
func (s Scenario) Handlers() map[string]walk.Handler {
	next := 0
	out := map[string]walk.Handler{}
	for _, a := range s.Answers {
		out[a.Function] = func(_ context.Context, in json.RawMessage) (json.RawMessage, error) {
			var req struct{ Op, State string }
			if err := json.Unmarshal(in, &req); err != nil {
				return nil, &walk.NamedError{Name: walk.ErrRuntime, Cause: err.Error()}
			}
			if next >= len(s.Answers) || s.Answers[next].Function != a.Function || s.Answers[next].State != req.State || s.Answers[next].Op != req.Op {
				return nil, &walk.NamedError{Name: walk.ErrRuntime, Cause: fmt.Sprintf("call %d of the scenario is not %s/%s in %s", next, a.Function, req.Op, req.State)}
			}
			next++
			if answer := s.Answers[next-1]; answer.Error != "" {
				return nil, &walk.NamedError{Name: answer.Error, Cause: answer.Cause}
			}
			return s.Answers[next-1].Section, nil
		}
	}
	return out
}
