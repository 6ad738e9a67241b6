// Package lambdaboot runs a step as a Lambda function. It is the one place that turns a fault into a Lambda error: Step
// Functions matches ErrorEquals with the error's type, which aws-lambda-go takes from the Go type of the OUTERMOST error
// unless the error is a messages.InvokeResponse_Error, not a pointer to one and not wrapped
// (https://github.com/aws/aws-lambda-go/blob/main/lambda/errors.go).
package lambdaboot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

const (
	// reserve is the time before the function's deadline at which a handler's context ends: enough to write an answer down.
	reserve = 2 * time.Second
	// grace is how long after that a handler that does not return is waited for. reserve - grace is left to post the answer.
	grace = time.Second
	// maxMessage bounds an error's text, in bytes: what a Catch writes travels in the state from then on.
	maxMessage = 2 << 10
)

// Start runs the handler of a step until the process is ended by Lambda. A fault becomes an error whose type is the
// fault's code; a panic, a section that cannot be encoded or one above run.SectionLimit becomes Internal; a handler that
// does not return in time becomes Unavailable, and the process then ends, so that no half-done call lives on beside the
// next one.
func Start[S any](handler func(ctx context.Context, op, state string, r run.Run) (S, error)) {
	StartRaw(func(ctx context.Context, payload json.RawMessage) (S, error) {
		var req run.Request
		if err := json.Unmarshal(payload, &req); err != nil {
			var none S
			return none, fault.New(fault.InputInvalid, "read the request {op, state, run}", err)
		}
		return handler(ctx, req.Op, req.State, req.Run)
	})
}

// StartRaw is Start for a handler that reads its payload itself.
func StartRaw[S any](handler func(context.Context, json.RawMessage) (S, error)) {
	log := NewLogger()
	slog.SetDefault(log)
	// What the runtime's library says of an error is said already.
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())
	lambda.Start(invoker[S]{handler: handler, log: log})
}

// invoker is a lambda.Handler: bytes in, bytes out, no reflection.
type invoker[S any] struct {
	handler func(context.Context, json.RawMessage) (S, error)
	log     *slog.Logger
}

// answer is a section, or a fault; exit ends the process after it.
type answer struct {
	section []byte
	fault   *fault.Fault
	exit    bool
}

// Invoke calls the handler within the deadline. Its error is always a messages.InvokeResponse_Error.
func (v invoker[S]) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	// The runtime reuses the payload's buffer; a handler that overstays must not see it change.
	payload = bytes.Clone(payload)
	var late <-chan time.Time
	if d, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, d.Add(-reserve))
		defer cancel()
		t := time.NewTimer(time.Until(d.Add(-reserve + grace)))
		defer t.Stop()
		late = t.C
	}
	began := time.Now()
	done := make(chan answer, 1)
	go func() { done <- v.call(ctx, payload) }()
	var a answer
	select {
	case a = <-done:
	case <-late:
		a = answer{fault: fault.New(fault.Unavailable, "the step did not return before the function's deadline", ctx.Err()), exit: true}
	}
	logCall(ctx, v.log, payload, a, time.Since(began))
	if a.fault == nil {
		return a.section, nil
	}
	e := response(a.fault)
	e.ShouldExit = a.exit
	return nil, e
}

func (v invoker[S]) call(ctx context.Context, payload []byte) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			// Whatever the panic left behind goes with the process.
			a = answer{fault: fault.Newf(fault.Internal, "panic", "%v\n%s", p, debug.Stack()), exit: true}
		}
	}()
	s, err := v.handler(ctx, payload)
	if err != nil {
		return answer{fault: classify(err)}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return answer{fault: fault.New(fault.Internal, "encode the section", err)}
	}
	if len(b) > run.SectionLimit {
		return answer{fault: fault.Newf(fault.Internal, "encode the section",
			"it has %d bytes, and at most %d travel in the state; the rest belongs into the evidence", len(b), run.SectionLimit)}
	}
	return answer{section: b}
}

// classify returns err's fault. An error without one is Internal, unless the time ran out.
func classify(err error) *fault.Fault {
	var f *fault.Fault
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fault.New(fault.Unavailable, "the step ran out of time", err)
	}
	return fault.From(err)
}

// response is the fault as Lambda hands it to Step Functions.
func response(f *fault.Fault) messages.InvokeResponse_Error {
	text := f.Op
	if f.Err != nil {
		text = fmt.Sprintf("%s: %v", f.Op, f.Err)
	}
	if len(text) > maxMessage {
		text = string(bytes.ToValidUTF8([]byte(text[:maxMessage]), nil)) + "…"
	}
	return messages.InvokeResponse_Error{Type: string(f.Code), Message: text}
}
