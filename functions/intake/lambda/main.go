// Command lambda is the intake function.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/events"
	"fallbackchain.io/fallback/functions/intake"
	"fallbackchain.io/fallback/functions/intake/invoke"
	"fallbackchain.io/fallback/shared/lambdaboot"
	"fallbackchain.io/fallback/shared/lambdaboot/awslog"
)

func main() {
	env := lambdaboot.NewEnv(os.LookupEnv)
	machine := env.ARN("STATE_MACHINE_ARN", "states", "stateMachine:")
	janitor := env.ARN("JANITOR_FUNCTION_ARN", "lambda", "function:")
	if err := env.Err(); err != nil {
		lambdaboot.Exit(err)
	}
	registry, err := events.Default(machine)
	if err != nil {
		lambdaboot.Exit(err)
	}
	cfg, err := config.LoadDefaultConfig(context.Background(), awslog.Load)
	if err != nil {
		lambdaboot.Exit(err)
	}
	h := &intake.Handler{Events: registry, Executions: sfn.NewFromConfig(cfg), MachineARN: machine, Now: time.Now,
		Janitor: invoke.Janitor{Functions: lambda.NewFromConfig(cfg), ARN: janitor}}
	lambdaboot.StartRaw(h.Handle)
}
