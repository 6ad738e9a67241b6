// Command lambda is the seal function.
package main

import (
	"context"
	"os"
	"path"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/functions/seal"
	"fallbackchain.io/fallback/shared/backup/kmskey"
	"fallbackchain.io/fallback/shared/lambdaboot"
	"fallbackchain.io/fallback/shared/lambdaboot/awslog"
	"fallbackchain.io/fallback/shared/s3store"
)

func main() {
	env := lambdaboot.NewEnv(os.LookupEnv)
	key := env.ARN("MANIFEST_KEY_ARN", "kms", "key/")
	bucket, prefix := env.Required("VELERO_BUCKET", "the bucket of the Velero backups"), env.Optional("VELERO_PREFIX")
	if err := env.Err(); err != nil {
		lambdaboot.Exit(err)
	}
	cfg, err := config.LoadDefaultConfig(context.Background(), awslog.Load)
	if err != nil {
		lambdaboot.Exit(err)
	}
	store, err := s3store.NewBackups(s3.NewFromConfig(cfg), "s3://"+path.Join(bucket, prefix))
	if err != nil {
		lambdaboot.Exit(err)
	}
	h := &seal.Handler{Bucket: bucket, Prefix: prefix, Store: store, Key: kmskey.New(kms.NewFromConfig(cfg), key),
		Now: time.Now, Sleep: seal.Sleep, Log: lambdaboot.NewLogger()}
	lambdaboot.StartRaw(h.Handle)
}
