package cluster

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fallbackchain.io/fallback/shared/fault"
)

// Fault classifies an error of the API server, or of reaching it. A fault passes through unchanged; nil stays nil.
func Fault(op string, err error) error {
	var f *fault.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fault.New(fault.Unavailable, op, err)
	case apierrors.IsUnauthorized(err):
		return fault.New(fault.Unauthorized, op, err)
	case apierrors.IsForbidden(err):
		return fault.New(fault.PermissionDenied, op, err)
	case apierrors.IsConflict(err):
		return fault.New(fault.Conflict, op, err)
	case apierrors.IsTooManyRequests(err):
		return fault.New(fault.Throttled, op, err)
	case apierrors.IsNotFound(err):
		return fault.New(fault.ObjectsMissing, op, err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return fault.New(fault.NotQualified, op, fmt.Errorf("the API server refused the object: %w", err))
	default:
		// Everything else (5xx, connection refused, TLS, DNS) is a server that could not be asked.
		return fault.New(fault.Unavailable, op, err)
	}
}

// codeOf is a fault's code, or "".
func codeOf(err error) fault.Code {
	var f *fault.Fault
	if errors.As(err, &f) {
		return f.Code
	}
	return ""
}
