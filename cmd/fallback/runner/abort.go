package runner

import (
	"context"
	"encoding/json"
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// finishing are the functions that an abort does not interrupt: they put back what was changed.
var finishing = map[string]bool{"rollback": true, "teardown": true, "report": true, "lease": true}

// abortPoll is how often a waiting step looks whether the run is to be aborted.
const abortPoll = 500 * time.Millisecond

// abortable makes a step end with RunAborted when an abort was asked for: before it begins, and while it waits.
func abortable(function string, requested func() bool, h walk.Handler) walk.Handler {
	if finishing[function] {
		return h
	}
	return func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
		var req run.Request
		if err := json.Unmarshal(in, &req); err != nil {
			return nil, fault.New(fault.InputInvalid, "read the step's input", err)
		}
		if req.Op == "lift" {
			return h(ctx, in)
		}
		aborted := func() error { return fault.New(fault.RunAborted, function+"/"+req.Op, nil) }
		if requested() {
			return nil, aborted()
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		seen := make(chan struct{})
		go func() {
			t := time.NewTicker(abortPoll)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
					if requested() {
						close(seen)
						cancel()
						return
					}
				}
			}
		}()
		out, err := h(ctx, in)
		select {
		case <-seen:
			// The step may have ended well in the same moment; then its section is kept and the next step is not begun.
			if err == nil && !isRunning(out) {
				return out, nil
			}
			return nil, aborted()
		default:
			return out, err
		}
	}
}

func isRunning(section json.RawMessage) bool {
	var s struct{ Phase run.Phase }
	return json.Unmarshal(section, &s) != nil || s.Phase == run.Running
}
