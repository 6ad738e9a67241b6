package runner

import (
	"context"
	"encoding/json"
	"errors"

	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/walk"
)

// errDryRunEnds ends a dry run before the first state whose answer depends on changes that were not made.
var errDryRunEnds = errors.New("the dry run ends here")

// dryRunStops are the states before which a dry run ends: what follows waits for what was not done.
var dryRunStops = map[string]bool{
	"AwaitRestore":               true,
	"AwaitVolumeAttachmentSync":  true,
	"AwaitControlPlaneReconcile": true,
	"AwaitDegradedStatefulSet":   true,
	"GiveUp":                     true,
	"ReleaseLease":               true,
	"Report":                     true,
}

// dryRun replaces the two steps whose work would be a change without being one of the listed ones: the lease is not taken, and a
// quarantine that was not made is taken as verified. Both are said to be assumed.
func dryRun(function string, h walk.Handler) walk.Handler {
	return func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) {
		var req run.Request
		if err := json.Unmarshal(in, &req); err != nil {
			return nil, err
		}
		switch function + "/" + req.Op {
		case "lease/acquire":
			return json.Marshal(run.Lease{Phase: run.Held, Message: "assumed: a dry run takes no lease"})
		case "quarantine/check":
			q := run.Quarantine{}
			if req.Run.Quarantine != nil {
				q = *req.Run.Quarantine
			}
			q.Phase, q.Level, q.Message = run.Verified, q.Wanted, "assumed: a dry run makes no quarantine"
			return json.Marshal(q)
		default:
			return h(ctx, in)
		}
	}
}
