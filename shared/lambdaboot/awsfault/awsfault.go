// Package awsfault classifies what an AWS API answers, or that it does not answer, so that the state machine knows what
// to do about it. It is the counterpart of cluster.Fault for the AWS SDK.
package awsfault

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/shared/fault"
)

// codes are the error codes that neither the SDK's throttle list nor the HTTP status places. Sources:
// https://docs.aws.amazon.com/step-functions/latest/apireference/CommonErrors.html and the "Errors" section of
// https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html.
var codes = map[string]fault.Code{
	"ExecutionLimitExceeded":  fault.Throttled,
	"KmsThrottlingException":  fault.Throttled,
	"ServiceUnavailable":      fault.Unavailable,
	"InternalFailure":         fault.Unavailable,
	"InternalServerException": fault.Unavailable,
	"RequestTimeout":          fault.Unavailable,

	"AccessDenied":             fault.PermissionDenied,
	"AccessDeniedException":    fault.PermissionDenied,
	"NotAuthorized":            fault.PermissionDenied,
	"KmsAccessDeniedException": fault.PermissionDenied,

	"ExpiredToken":                fault.Unauthorized,
	"ExpiredTokenException":       fault.Unauthorized,
	"InvalidClientTokenId":        fault.Unauthorized,
	"IncompleteSignature":         fault.Unauthorized,
	"InvalidSignatureException":   fault.Unauthorized,
	"MissingAuthenticationToken":  fault.Unauthorized,
	"SignatureDoesNotMatch":       fault.Unauthorized,
	"UnrecognizedClientException": fault.Unauthorized,

	"ExecutionDoesNotExist":    fault.InputInvalid,
	"InvalidArn":               fault.InputInvalid,
	"InvalidExecutionInput":    fault.InputInvalid,
	"InvalidName":              fault.InputInvalid,
	"StateMachineDeleting":     fault.InputInvalid,
	"StateMachineDoesNotExist": fault.InputInvalid,
	"ValidationError":          fault.InputInvalid,
	"ValidationException":      fault.InputInvalid,
	"KmsInvalidStateException": fault.InputInvalid,
}

// Fault classifies err. A fault passes through unchanged; nil stays nil. What is neither known nor an answer of a server
// at fault is Unavailable when no answer came, and Internal when one did: a code nobody has thought of.
func Fault(op string, err error) error {
	var f *fault.Fault
	if err == nil || errors.As(err, &f) {
		return err
	}
	return fault.New(code(err), op, err)
}

func code(err error) fault.Code {
	var api smithy.APIError
	var status *awshttp.ResponseError
	answered := errors.As(err, &status) && status.HTTPStatusCode() > 0
	if errors.As(err, &api) {
		if c, ok := codes[api.ErrorCode()]; ok {
			return c
		}
		if _, ok := retry.DefaultThrottleErrorCodes[api.ErrorCode()]; ok {
			return fault.Throttled
		}
		if api.ErrorFault() == smithy.FaultServer {
			return fault.Unavailable
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fault.Unavailable
	case answered && status.HTTPStatusCode() == http.StatusTooManyRequests:
		return fault.Throttled
	case answered && status.HTTPStatusCode() >= 500:
		return fault.Unavailable
	case answered && status.HTTPStatusCode() == http.StatusForbidden:
		return fault.PermissionDenied
	case answered && status.HTTPStatusCode() == http.StatusUnauthorized:
		return fault.Unauthorized
	case answered, api != nil:
		return fault.Internal
	}
	return fault.Unavailable
}
