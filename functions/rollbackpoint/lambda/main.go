// Command lambda is the rollbackpoint function.
package main

import (
	"fallbackchain.io/fallback/functions/rollbackpoint"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.RollbackPoint] { return (&rollbackpoint.Handler{Env: env}).Handle })
}
