// Package secrets reads database credentials from AWS Secrets Manager. It stands apart from package awsedge so that only the function
// that needs it links the service's client.
package secrets

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsarn "github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/shared/lambdaboot/awslog"
)

// API is what is called of Secrets Manager.
type API interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// Manager reads secrets. The zero value is not usable.
type Manager struct {
	// Connect reaches Secrets Manager in a Region; empty: that of the process. It is called by every Read: nothing of AWS is touched by
	// a process whose plans name no secret there.
	Connect func(ctx context.Context, region string) (API, error)
}

// Default uses the process's own credentials and Region.
func Default() Manager {
	return Manager{Connect: func(ctx context.Context, region string) (API, error) {
		cfg, err := config.LoadDefaultConfig(ctx, awslog.Load)
		if err != nil {
			return nil, err
		}
		return connect(cfg, region)
	}}
}

var errNoRegion = errors.New("its Region is not known: expected it in spec.workload.database.credentials.secretsManager.region, or the secret's ARN")

func connect(cfg aws.Config, region string) (API, error) {
	if region != "" {
		cfg.Region = region
	}
	if cfg.Region == "" {
		return nil, errNoRegion
	}
	return secretsmanager.NewFromConfig(cfg), nil
}

// codes are the errors of GetSecretValue that awsfault does not place
// (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html#API_GetSecretValue_Errors).
// InvalidRequestException: the secret is scheduled for deletion.
var codes = map[string]fault.Code{
	"ResourceNotFoundException": fault.ObjectsMissing,
	"InvalidRequestException":   fault.ObjectsMissing,
	"InvalidParameterException": fault.PlanInvalid,
	"DecryptionFailure":         fault.PermissionDenied,
	"InternalServiceError":      fault.Unavailable,
}

// Read returns the text of the current version of a secret, by its name or ARN. region may be empty: then it is that of the ARN, else
// that of the process. An error is a fault; it holds nothing of the secret.
func (m Manager) Read(ctx context.Context, id, region string) (string, error) {
	op := "read secret " + id + " of Secrets Manager"
	if a, err := awsarn.Parse(id); err == nil && region == "" {
		region = a.Region
	}
	api, err := m.Connect(ctx, region)
	switch {
	case errors.Is(err, errNoRegion):
		return "", fault.New(fault.PlanInvalid, op, err)
	case err != nil:
		return "", awsfault.Fault(op, err)
	}
	out, err := api.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)})
	var known smithy.APIError
	if errors.As(err, &known) {
		if c, ok := codes[known.ErrorCode()]; ok {
			return "", fault.New(c, op, err)
		}
	}
	if err != nil {
		return "", awsfault.Fault(op, err)
	}
	if out.SecretString == nil {
		return "", fault.Newf(fault.ObjectsMissing, op, "it holds bytes: expected a text")
	}
	return *out.SecretString, nil
}
