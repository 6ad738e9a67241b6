package secrets

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/fault"
)

const value = `{"username":"reader","password":"reader-password-5c1d"}`

// TestRead reads from a Secrets Manager that nobody here wrote.
func TestRead(t *testing.T) {
	base := awstest.Start(t)
	m := Manager{Connect: func(_ context.Context, region string) (API, error) { return connect(awstest.Config(base), region) }}
	in := func(region string) *secretsmanager.Client {
		cfg := awstest.Config(base)
		cfg.Region = region
		return secretsmanager.NewFromConfig(cfg)
	}
	made, err := in(awstest.Region).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("shop/reader"), SecretString: aws.String(value)})
	if err != nil {
		t.Fatal(err)
	}
	far, err := in("eu-west-1").CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("far"), SecretString: aws.String("far " + value)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in(awstest.Region).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("bytes"), SecretBinary: []byte(value)}); err != nil {
		t.Fatal(err)
	}
	if _, err := in(awstest.Region).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("going"), SecretString: aws.String(value)}); err != nil {
		t.Fatal(err)
	}
	if _, err := in(awstest.Region).DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("going")}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, id, region, want string
		code                   fault.Code
	}{
		{name: "by name", id: "shop/reader", want: value},
		{name: "by ARN", id: *made.ARN, want: value},
		{name: "by an ARN of another Region", id: *far.ARN, want: "far " + value},
		{name: "by name in another Region", id: "far", region: "eu-west-1", want: "far " + value},
		{name: "not in this Region", id: "far", code: fault.ObjectsMissing},
		{name: "bytes", id: "bytes", code: fault.ObjectsMissing},
		{name: "scheduled for deletion", id: "going", code: fault.ObjectsMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := m.Read(t.Context(), tc.id, tc.region)
			if tc.code == "" {
				if err != nil || got != tc.want {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if fault.From(err).Code != tc.code || got != "" || !strings.Contains(err.Error(), tc.id) || strings.Contains(err.Error(), "5c1d") {
				t.Errorf("%q, %v; want %s", got, err, tc.code)
			}
		})
	}
}

// broken answers an error.
type broken struct{ err error }

func (b broken) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return nil, b.err
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want fault.Code
	}{
		{&smithy.GenericAPIError{Code: "AccessDeniedException"}, fault.PermissionDenied},
		{&smithy.GenericAPIError{Code: "DecryptionFailure"}, fault.PermissionDenied},
		{&smithy.GenericAPIError{Code: "ThrottlingException"}, fault.Throttled},
		{&smithy.GenericAPIError{Code: "InternalServiceError"}, fault.Unavailable},
		{&smithy.GenericAPIError{Code: "InvalidParameterException"}, fault.PlanInvalid},
		{&smithy.GenericAPIError{Code: "ExpiredTokenException"}, fault.Unauthorized},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, fault.Unavailable},
	} {
		m := Manager{Connect: func(context.Context, string) (API, error) { return broken{tc.err}, nil }}
		if _, err := m.Read(t.Context(), "shop/reader", ""); fault.From(err).Code != tc.want {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

func TestNoRegion(t *testing.T) {
	for _, v := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(v, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	if _, err := Default().Read(t.Context(), "shop/reader", ""); fault.From(err).Code != fault.PlanInvalid || !strings.Contains(err.Error(), "Region") {
		t.Errorf("%v", err)
	}
}
