package s3store

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/lambdaboot/awslog"
	"fallbackchain.io/fallback/shared/plan"
)

// anyRegion is what a server that is not AWS is signed for when no Region is named: most take any, and this one is their default.
const anyRegion = "us-east-1"

// ClientFor returns a client of the server that a plan's Velero backups are on. Credentials are those of the profile default in the
// plan's file and no others; without a file they are the process's own. Nothing is sent to the server.
func ClientFor(ctx context.Context, v *plan.Velero) (*s3.Client, error) {
	opts := []func(*config.LoadOptions) error{awslog.Load}
	if v.Region != "" {
		opts = append(opts, config.WithRegion(v.Region))
	}
	if v.CredentialsFile != "" {
		p, err := fromFile(ctx, v.CredentialsFile)
		if err != nil {
			return nil, fmt.Errorf("spec.inventory.velero.credentialsFile %s: %w", v.CredentialsFile, err)
		}
		opts = append(opts, config.WithCredentialsProvider(p))
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("the backups' place %s: %w", v.Location, err)
	}
	if cfg.Region == "" && v.Endpoint != "" {
		cfg.Region = anyRegion
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("the backups' place %s: its Region is not known: expected spec.inventory.velero.region, or AWS_REGION in the environment", v.Location)
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		if v.Endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(v.Endpoint), true
		}
	}), nil
}

// fromFile reads keys from a file in the format of AWS's shared credentials file
// (https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html).
func fromFile(ctx context.Context, path string) (aws.CredentialsProvider, error) {
	c, err := config.LoadSharedConfigProfile(ctx, "default", func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{path}, []string{}
	})
	if err != nil {
		return nil, err
	}
	if !c.Credentials.HasKeys() {
		return nil, errors.New("has no aws_access_key_id and aws_secret_access_key in the profile default")
	}
	return credentials.NewStaticCredentialsProvider(c.Credentials.AccessKeyID, c.Credentials.SecretAccessKey, c.Credentials.SessionToken), nil
}
