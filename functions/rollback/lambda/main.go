// Command lambda is the rollback function.
package main

import (
	"fallbackchain.io/fallback/functions/rollback"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Undo] { return (&rollback.Handler{Env: env}).Handle })
}
