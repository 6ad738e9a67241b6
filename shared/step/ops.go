package step

import (
	"context"
	"maps"
	"slices"
	"strings"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// Ops are the operations of a function, by the name that the graph's tasks pass.
type Ops[T any] map[string]func(context.Context, *Session) (T, error)

// Serve opens the session of a state and runs one operation in it. An operation that the function does not have is an Internal fault,
// before anything is read.
func (o Ops[T]) Serve(ctx context.Context, env *Env, function, op, state string, r run.Run) (T, error) {
	var none T
	do, ok := o[op]
	if !ok {
		return none, fault.Newf(fault.Internal, function, "operation %q: expected one of %s", op, strings.Join(slices.Sorted(maps.Keys(o)), ", "))
	}
	s, err := env.Open(ctx, state, r)
	if err != nil {
		return none, err
	}
	return do(ctx, s)
}
