// Command lambda is the janitor function.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/functions/janitor"
	"fallbackchain.io/fallback/functions/janitor/awsio"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/lambdaboot"
	"fallbackchain.io/fallback/shared/s3store"
	"fallbackchain.io/fallback/shared/telemetry"
)

func main() {
	env := lambdaboot.NewEnv(os.LookupEnv)
	machine := env.ARN("STATE_MACHINE_ARN", "states", "stateMachine:")
	evidence := env.Required("EVIDENCE_BUCKET", "the bucket of the reports")
	edge, err := awsedge.New(context.Background(), env)
	if err != nil {
		lambdaboot.Exit(err)
	}
	count := telemetry.Once{Claims: s3store.Claims{S3: edge.S3, Bucket: evidence}, Out: os.Stdout}
	h := &awsio.Handler{
		Executions: sfn.NewFromConfig(edge.Config), MachineARN: machine,
		Marks: s3store.Marks{S3: edge.S3, Bucket: edge.JournalBucket, Name: "janitor.json"},
		Steps: awsio.Steps(edge.Env, s3store.Reports{S3: edge.S3, Bucket: evidence}, count.Count),
		Now:   time.Now, Sleep: janitor.Sleep,
	}
	lambdaboot.StartRaw(h.HandleRaw)
}
