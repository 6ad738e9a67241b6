package walk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/cond"
	"fallbackchain.io/fallback/statemachine/graph"
)

// Error names of the States Language (https://states-language.net/spec.html#appendix-a).
const (
	ErrRuntime   = "States.Runtime"
	ErrNoChoice  = "States.NoChoiceMatched"
	ErrDataLimit = "States.DataLimitExceeded"
	ErrTimeout   = "States.Timeout"
)

// NamedError is an error with its own name in the state machine, e.g. a Lambda service error in a stub.
type NamedError struct{ Name, Cause string }

func (e *NamedError) Error() string { return e.Name + ": " + e.Cause }

// task calls the handler until it answers, a retrier gives up, or the context ends.
func (w *walker) task(ctx context.Context, s *graph.State, doc any) (left, any, error) {
	h, ok := w.Handlers[s.Function]
	if !ok {
		return left{}, doc, fmt.Errorf("walk: state %s calls function %s, which has no handler", s.Name, s.Function)
	}
	in, err := encode(map[string]any{"op": s.Op, "state": s.Name, "run": doc})
	if err != nil {
		return left{}, doc, err
	}
	if len(in) > run.PayloadLimit {
		e := &NamedError{Name: ErrDataLimit, Cause: fmt.Sprintf("the input of %s has %d bytes, more than %d", s.Name, len(in), run.PayloadLimit)}
		return left{reason: e.Name, failed: e}, doc, nil
	}
	retries := make([]int, len(s.Retry))
	for attempt := 1; ; attempt++ {
		out, failed := w.call(ctx, s, h, in)
		if failed == nil {
			return w.store(s, doc, out)
		}
		if err := ctx.Err(); err != nil {
			return left{}, doc, fmt.Errorf("walk: stopped in %s: %w", s.Name, err)
		}
		delay, again := w.retry(s, failed.Name, retries)
		if !again {
			l, next := w.catch(s, doc, failed)
			return l, next, nil
		}
		w.emit(Event{Kind: Retried, Attempt: attempt, Reason: failed.Name, Cause: failed.Cause}, s)
		if err := w.Sleep(ctx, delay); err != nil {
			return left{}, doc, fmt.Errorf("walk: stopped in %s: %w", s.Name, err)
		}
	}
}

// call runs the handler within the function's timeout. A panic is the fault Internal, as in a function.
func (w *walker) call(ctx context.Context, s *graph.State, h Handler, in json.RawMessage) (out json.RawMessage, failed *NamedError) {
	limited, cancel := context.WithTimeout(ctx, w.m.Timing.Function)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			out, failed = nil, &NamedError{Name: string(fault.Internal), Cause: fmt.Sprintf("panic in %s/%s: %v\n%s", s.Function, s.Op, p, debug.Stack())}
		}
	}()
	out, err := h(limited, in)
	if err != nil {
		var named *NamedError
		switch {
		case errors.As(err, &named):
			return nil, named
		case limited.Err() != nil && errors.Is(err, context.DeadlineExceeded):
			return nil, &NamedError{Name: ErrTimeout, Cause: fmt.Sprintf("%s/%s did not end within %s: %v", s.Function, s.Op, w.m.Timing.Function, err)}
		}
		f := fault.From(err)
		return nil, &NamedError{Name: string(f.Code), Cause: f.Error()}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, out); err != nil {
		return nil, &NamedError{Name: string(fault.Internal), Cause: fmt.Sprintf("%s/%s returned no JSON: %v", s.Function, s.Op, err)}
	}
	if compact.Len() > run.SectionLimit {
		return nil, &NamedError{Name: string(fault.Internal), Cause: fmt.Sprintf("%s/%s returned a section of %d bytes, more than %d", s.Function, s.Op, compact.Len(), run.SectionLimit)}
	}
	return compact.Bytes(), nil
}

// store writes the section into the run.
func (w *walker) store(s *graph.State, doc any, out json.RawMessage) (left, any, error) {
	value, err := decode(out)
	if err != nil {
		return left{}, doc, err
	}
	next, err := cond.Set(doc, s.ResultPath, value)
	if err != nil {
		return left{reason: ErrRuntime, failed: runtimeError(s, err)}, doc, nil
	}
	reason := ""
	if phase, err := cond.Get(value, "$.phase"); err == nil {
		reason, _ = phase.(string)
	}
	return left{kind: Exited, next: s.Next, reason: reason, result: out}, next, nil
}

// retry finds the first retrier for the error and counts it. MaxAttempts is the retrier's own count of retries in this visit.
func (w *walker) retry(s *graph.State, name string, used []int) (delay time.Duration, again bool) {
	for i, r := range s.Retry {
		if !matches(r.Errors, name) {
			continue
		}
		if used[i] >= r.MaxAttempts {
			return 0, false
		}
		most := time.Duration(float64(r.Interval) * math.Pow(r.Backoff, float64(used[i])))
		if r.MaxDelay > 0 {
			most = min(most, r.MaxDelay)
		}
		used[i]++
		return w.Jitter(most), true
	}
	return 0, false
}

// catch finds the first catcher for the error and writes the error where it says.
func (w *walker) catch(s *graph.State, doc any, failed *NamedError) (left, any) {
	for _, c := range s.Catch {
		if !matches(c.Errors, failed.Name) {
			continue
		}
		next, err := cond.Set(doc, c.ResultPath, map[string]any{"Error": failed.Name, "Cause": failed.Cause})
		if err != nil {
			return left{reason: ErrRuntime, failed: runtimeError(s, err)}, doc
		}
		return left{kind: Caught, next: c.Next, reason: failed.Name, cause: failed.Cause}, next
	}
	return left{reason: failed.Name, failed: failed}, doc
}

// matches tells whether a list of error names holds the name. States.ALL holds all but two.
func matches(list []string, name string) bool {
	if slices.Contains(list, name) {
		return true
	}
	return slices.Contains(list, graph.AllErrors) && name != ErrDataLimit && name != ErrRuntime
}
