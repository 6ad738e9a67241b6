package steptest

import (
	"context"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// retries is how often the graph calls a task again after a fault that may go away (statemachine/chain, FaultRetry).
const retries = 3

// Handle is a step's handler.
type Handle[S any] = func(ctx context.Context, op, state string, r run.Run) (S, error)

// Retried calls a step again, as the state machine does, when it ends with a fault of class Retry: on a living cluster controllers change
// objects between a step's read and its write.
func Retried[S any](handle Handle[S]) Handle[S] {
	return func(ctx context.Context, op, state string, r run.Run) (S, error) {
		sec, err := handle(ctx, op, state, r)
		for range retries {
			if err == nil || fault.From(err).Class() != fault.Retry {
				break
			}
			sec, err = handle(ctx, op, state, r)
		}
		return sec, err
	}
}
