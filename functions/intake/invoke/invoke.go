// Package invoke passes a janitor request to the janitor function, asynchronously.
package invoke

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"fallbackchain.io/fallback/events"
)

// Invoker invokes functions.
type Invoker interface {
	Invoke(context.Context, *lambda.InvokeInput, ...func(*lambda.Options)) (*lambda.InvokeOutput, error)
}

// Janitor is the janitor function.
type Janitor struct {
	Functions Invoker
	ARN       string
}

// Request queues the request; Lambda then delivers it, and again when the janitor fails
// (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html). Anything but 202 Accepted is an error.
func (j Janitor) Request(ctx context.Context, e events.Janitor) error {
	payload, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode the janitor request: %w", err)
	}
	out, err := j.Functions.Invoke(ctx, &lambda.InvokeInput{
		FunctionName: aws.String(j.ARN), InvocationType: types.InvocationTypeEvent, Payload: payload,
	})
	if err != nil {
		return err
	}
	if out.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the janitor function %s answered %d: expected 202", j.ARN, out.StatusCode)
	}
	return nil
}
