// Command lambda is the report function.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/functions/report"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/lambdaboot"
	"fallbackchain.io/fallback/shared/s3store"
	"fallbackchain.io/fallback/shared/telemetry"
	"fallbackchain.io/fallback/statemachine/chain"
	"fallbackchain.io/fallback/statemachine/history"
)

func main() {
	env := lambdaboot.NewEnv(os.LookupEnv)
	machine := env.ARN("STATE_MACHINE_ARN", "states", "stateMachine:")
	evidence := env.Required("EVIDENCE_BUCKET", "the bucket of the reports")
	edge, err := awsedge.New(context.Background(), env)
	if err != nil {
		lambdaboot.Exit(err)
	}
	graph, err := chain.Fallback().Expand()
	if err != nil {
		lambdaboot.Exit(err)
	}
	count := telemetry.Once{Claims: s3store.Claims{S3: edge.S3, Bucket: evidence}, Out: os.Stdout}
	h := &report.Handler{Env: edge.Env, Store: s3store.Reports{S3: edge.S3, Bucket: evidence}, Count: count.Count,
		Visits: history.OfRun(sfn.NewFromConfig(edge.Config), machine, graph)}
	lambdaboot.Start(h.Handle)
}
