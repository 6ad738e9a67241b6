package walk_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/walk"
)

// Whatever the input and whatever the tasks answer, a walk of the real graph ends or says why not, and never panics.
func FuzzWalk(f *testing.F) {
	f.Add(`{"mode":"recover"}`, `{"phase":"Succeeded"}`)
	f.Add(`{"mode":"drill","faults":3}`, `{"phase":"Hold","holdUntil":"soon"}`)
	f.Add(`[]`, `null`)
	f.Add(`{"mode":"recover","admit":1}`, `{"phase":"Admitted","tiers":{"VolumeAttachmentSync":"yes"}}`)
	f.Fuzz(func(t *testing.T, input, answer string) {
		calls := 0
		h := func(context.Context, json.RawMessage) (json.RawMessage, error) {
			if calls++; calls > 50 {
				return nil, &walk.NamedError{Name: walk.ErrRuntime, Cause: "enough"}
			}
			return json.RawMessage(answer), nil
		}
		m, err := chain.Fallback().Expand()
		if err != nil {
			t.Fatal(err)
		}
		handlers := map[string]walk.Handler{}
		for _, name := range m.Functions() {
			handlers[name] = h
		}
		res, err := walk.Walk(t.Context(), walk.Options{Graph: chain.Fallback(), Handlers: handlers,
			Sleep: func(context.Context, time.Duration) error { return nil }}, json.RawMessage(input))
		if err == nil && res.Terminal == "" && res.Error == "" {
			t.Errorf("%s: the walk ended nowhere: %+v", input, res)
		}
		if err == nil && !json.Valid(res.Output) {
			t.Errorf("%s: output %q", input, res.Output)
		}
	})
}
