// Command lambda is the teardown function.
package main

import (
	"fallbackchain.io/fallback/functions/teardown"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Undo] { return (&teardown.Handler{Env: env}).Handle })
}
