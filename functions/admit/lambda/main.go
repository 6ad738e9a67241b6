// Command lambda is the admit function.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/functions/admit"
	"fallbackchain.io/fallback/functions/admit/awsio"
	"fallbackchain.io/fallback/shared/lambdaboot"
	"fallbackchain.io/fallback/shared/lambdaboot/awslog"
	"fallbackchain.io/fallback/shared/s3store"
	"fallbackchain.io/fallback/shared/telemetry"
)

func main() {
	env := lambdaboot.NewEnv(os.LookupEnv)
	machine := env.ARN("STATE_MACHINE_ARN", "states", "stateMachine:")
	if err := env.Err(); err != nil {
		lambdaboot.Exit(err)
	}
	cfg, err := config.LoadDefaultConfig(context.Background(), awslog.Load)
	if err != nil {
		lambdaboot.Exit(err)
	}
	h := &admit.Handler{
		Plans:    s3store.Plans{S3: s3.NewFromConfig(cfg)},
		Alarms:   awsio.Alarms{CloudWatch: cloudwatch.NewFromConfig(cfg)},
		LastRuns: awsio.Runs{Executions: sfn.NewFromConfig(cfg), MachineARN: machine},
		Now:      time.Now,
	}
	lambdaboot.StartRaw(telemetry.Skips(os.Stdout, time.Now, h.HandleRaw))
}
