package awsrun

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/statemachine/graph"
	"fallbackchain.io/fallback/statemachine/history"
	"fallbackchain.io/fallback/statemachine/walk"
)

const (
	// pageSize is small so that what is read again at each look is short: only the last page is.
	pageSize = 100
	// minWait and maxWait bound the time between two looks. Step Functions has no call that waits for the next event;
	// GetExecutionHistory refills at 5 to 20 calls a second for the whole account and Region
	// (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
	minWait = time.Second
	maxWait = 5 * time.Second
	// maxMisses is how many looks in a row may fail for a reason that passes, with up to a minute between them.
	maxMisses   = 15
	maxMissWait = time.Minute
)

// Options of Follow.
type Options struct {
	// Machine is the graph, for the node, function and reason of each state. Without it events have the state only.
	Machine *graph.Machine
	// OnEvent hears of every event.
	OnEvent func(walk.Event)
	// Wait waits between two looks; a timer when nil.
	Wait func(context.Context, time.Duration) error
}

// Follow reads an execution's history as it grows, until the execution ends, and tells it as a walk's events. An execution
// that has ended already is told from its beginning. Throttling and times without an answer are waited out; anything else
// that goes wrong, and a context that ends, ends following, not the execution. The result's Output is the run's last state.
func Follow(ctx context.Context, c Reader, executionARN string, o Options) (walk.Result, error) {
	if o.Wait == nil {
		o.Wait = wait
	}
	f := &follower{Options: o, client: c, arn: executionARN, t: history.NewTranslator(o.Machine, o.OnEvent)}
	pause, misses := minWait, 0
	for {
		fresh, err := f.look(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return f.t.Result(), stopped(executionARN, ctx.Err())
		case err != nil && (!passing(err, f.last == 0) || misses >= maxMisses):
			return f.t.Result(), err
		case err != nil:
			// Half to all of the delay, so that several followers do not ask in step.
			d := min(minWait<<misses, maxMissWait)
			misses++
			if err := o.Wait(ctx, d/2+rand.N(d/2)); err != nil {
				return f.t.Result(), stopped(executionARN, err)
			}
			continue
		case f.t.Ended():
			return f.t.Result(), nil
		case fresh:
			pause = minWait
		default:
			pause = min(pause*2, maxWait)
		}
		misses = 0
		if err := o.Wait(ctx, pause); err != nil {
			return f.t.Result(), stopped(executionARN, err)
		}
	}
}

func stopped(arn string, err error) error {
	return fmt.Errorf("stopped following %s, which goes on: %w", arn, err)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// passing tells whether the next look may succeed. An execution that was just started may not be found yet, because
// reading is eventually consistent (https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html).
func passing(err error, first bool) bool {
	if notYet := (*types.ExecutionDoesNotExist)(nil); first && errors.As(err, &notYet) {
		return true
	}
	return fault.From(err).Class() == fault.Retry
}

type follower struct {
	Options
	client Reader
	arn    string
	t      *history.Translator
	// token is the page that is read next: the last one, again and again, as long as it grows.
	token *string
	// last is the ID of the newest event that was told.
	last int64
	// over is set when the execution was seen to be over; its history is then read once more.
	over *sfn.DescribeExecutionOutput
}

// look reads from the last page to the present end of the history, and tells what is new.
func (f *follower) look(ctx context.Context) (fresh bool, err error) {
	renewed := false
	for {
		out, err := f.client.GetExecutionHistory(ctx, &sfn.GetExecutionHistoryInput{
			ExecutionArn: aws.String(f.arn), MaxResults: pageSize, NextToken: f.token, IncludeExecutionData: aws.Bool(true),
		})
		if old := (*types.InvalidToken)(nil); errors.As(err, &old) && f.token != nil && !renewed {
			f.token, renewed = nil, true // expired: from the beginning, leaving out what was told
			continue
		}
		if err != nil {
			return fresh, awsfault.Fault("read the history of "+f.arn, err)
		}
		for _, e := range out.Events {
			if e.Id > f.last && !f.t.Ended() {
				f.last, fresh = e.Id, true
				f.t.Add(e)
			}
		}
		if f.t.Ended() {
			return fresh, nil
		}
		if out.NextToken == nil {
			break
		}
		f.token = out.NextToken
	}
	if fresh {
		return true, nil
	}
	return false, f.quiet(ctx)
}

// quiet asks, when nothing is new, whether the execution is over though its history does not say so (its last events may
// come late, and a follower must not wait for ever). It ends following at the second time.
func (f *follower) quiet(ctx context.Context) error {
	if d := f.over; d != nil {
		f.t.EndAs(d)
		return nil
	}
	d, err := f.client.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: aws.String(f.arn)})
	if err != nil {
		return awsfault.Fault("describe "+f.arn, err)
	}
	if d.Status != types.ExecutionStatusRunning && d.Status != types.ExecutionStatusPendingRedrive {
		f.over = d
	}
	return nil
}
