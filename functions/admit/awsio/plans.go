package awsio

import (
	"context"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/lambdaboot/awsfault"
	"fallbackchain.io/fallback/shared/plan"
)

// Getter gets objects.
type Getter interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Plans reads plans from S3.
type Plans struct{ S3 Getter }

// Read gets s3://bucket/key. A plan that is not there, or not an S3 object, is PlanInvalid.
func (p Plans) Read(ctx context.Context, uri string) ([]byte, error) {
	op := "get plan " + uri
	rest, ok := strings.CutPrefix(uri, "s3://")
	bucket, key, both := strings.Cut(rest, "/")
	if !ok || !both || bucket == "" || key == "" {
		return nil, fault.Newf(fault.PlanInvalid, op, "plan.uri: expected s3://bucket/key, a function has no files")
	}
	out, err := p.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		err = awsfault.Fault(op, err)
		if f := fault.From(err); f.Code == fault.Internal { // NoSuchKey, NoSuchBucket, InvalidObjectState and the like
			f.Code = fault.PlanInvalid
		}
		return nil, err
	}
	defer out.Body.Close()
	// One byte more than a plan may have is enough for its parser to refuse it.
	data, err := io.ReadAll(io.LimitReader(out.Body, plan.SizeLimit+1))
	if err != nil {
		return nil, fault.New(fault.Unavailable, op, err)
	}
	return data, nil
}
