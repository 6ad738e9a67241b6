package awsedge

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awseks "github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
)

// TestMishapsOnTheWire: what the services answer on the wire, through the SDK's own clients and retries, and which fault it becomes.
func TestMishapsOnTheWire(t *testing.T) {
	const tries = 2
	calls := map[string]func(context.Context, aws.Config) error{
		"EKS": func(ctx context.Context, c aws.Config) error {
			_, err := awseks.NewFromConfig(c).DescribeCluster(ctx, &awseks.DescribeClusterInput{Name: aws.String("main")})
			return err
		},
		"S3": func(ctx context.Context, c aws.Config) error {
			_, err := s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = true }).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
			return err
		},
		"Lambda": func(ctx context.Context, c aws.Config) error {
			_, err := lambda.NewFromConfig(c).Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("f")})
			return err
		},
		"Step Functions": func(ctx context.Context, c aws.Config) error {
			_, err := sfn.NewFromConfig(c).StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: aws.String("arn:aws:states:us-east-1:123456789012:stateMachine:m")})
			return err
		},
	}
	for _, tc := range []struct {
		name, service string
		status        int
		header, body  string // the error's code is in the X-Amzn-ErrorType header, or in the body
		drop          bool
		want          fault.Code
		asked         int
	}{
		{"EKS throttles", "EKS", http.StatusTooManyRequests, "TooManyRequestsException", `{"message":"slow down"}`, false, fault.Throttled, tries},
		{"Lambda throttles", "Lambda", http.StatusTooManyRequests, "TooManyRequestsException", `{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}`, false, fault.Throttled, tries},
		{"S3 throttles", "S3", http.StatusServiceUnavailable, "", `<Error><Code>SlowDown</Code></Error>`, false, fault.Throttled, tries},
		{"Step Functions throttles", "Step Functions", http.StatusBadRequest, "", `{"__type":"ThrottlingException"}`, false, fault.Throttled, tries},
		{"the credentials have expired", "EKS", http.StatusForbidden, "ExpiredTokenException", `{}`, false, fault.Unauthorized, 1},
		{"S3: the credentials have expired", "S3", http.StatusBadRequest, "", `<Error><Code>ExpiredToken</Code></Error>`, false, fault.Unauthorized, 1},
		{"not allowed", "EKS", http.StatusForbidden, "AccessDeniedException", `{}`, false, fault.PermissionDenied, 1},
		{"the service fails", "EKS", http.StatusInternalServerError, "ServerException", `{}`, false, fault.Unavailable, tries},
		{"the answer is lost", "Step Functions", 0, "", "", true, fault.Unavailable, tries},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				_, _ = io.Copy(io.Discard, r.Body)
				if tc.drop {
					panic(http.ErrAbortHandler)
				}
				if tc.header != "" {
					w.Header().Set("X-Amzn-ErrorType", tc.header)
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}))
			defer srv.Close()
			cfg := awstest.Config(srv.URL)
			cfg.Retryer = func() aws.Retryer {
				return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = tries, time.Millisecond })
			}
			err := awsfault.Fault("call", calls[tc.service](t.Context(), cfg))
			if f := fault.From(err); f == nil || f.Code != tc.want || asked != tc.asked {
				t.Errorf("%v after %d requests, expected %s after %d", err, asked, tc.want, tc.asked)
			}
		})
	}
}
