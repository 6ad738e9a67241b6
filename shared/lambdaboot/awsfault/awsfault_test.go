package awsfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"fallbackchain.io/fallback/shared/fault"
)

func answer(status int, err error) error {
	return &smithy.OperationError{ServiceID: "SFN", OperationName: "StartExecution", Err: &awshttp.ResponseError{
		ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err}}}
}

func TestFault(t *testing.T) {
	already := fault.New(fault.LeaseHeld, "acquire", nil)
	for _, c := range []struct {
		name string
		err  error
		want fault.Code
	}{
		{"a fault passes through", fmt.Errorf("wrapped: %w", already), fault.LeaseHeld},
		{"throttled", answer(400, &smithy.GenericAPIError{Code: "ThrottlingException"}), fault.Throttled},
		{"too many executions", answer(400, &types.ExecutionLimitExceeded{}), fault.Throttled},
		{"429 with an unknown code", answer(429, &smithy.GenericAPIError{Code: "Slower"}), fault.Throttled},
		{"no permission", answer(400, &smithy.GenericAPIError{Code: "AccessDeniedException"}), fault.PermissionDenied},
		{"403 with an unknown code", answer(403, &smithy.GenericAPIError{Code: "Nope"}), fault.PermissionDenied},
		{"old credentials", answer(400, &smithy.GenericAPIError{Code: "ExpiredTokenException"}), fault.Unauthorized},
		{"no such machine", answer(400, &types.StateMachineDoesNotExist{}), fault.InputInvalid},
		{"server's fault", answer(400, &smithy.GenericAPIError{Code: "Odd", Fault: smithy.FaultServer}), fault.Unavailable},
		{"503 without a body", answer(503, errors.New("no body")), fault.Unavailable},
		{"unknown code", answer(400, &smithy.GenericAPIError{Code: "Odd", Fault: smithy.FaultClient}), fault.Internal},
		{"no answer", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, fault.Unavailable},
		{"out of time", fmt.Errorf("call: %w", context.DeadlineExceeded), fault.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Fault("call", c.err)
			if got := fault.From(err).Code; got != c.want {
				t.Errorf("%v has the code %s, want %s", err, got, c.want)
			}
		})
	}
	if err := Fault("call", nil); err != nil {
		t.Errorf("nil became %v", err)
	}
}
