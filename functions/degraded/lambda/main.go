// Command lambda is the degraded function.
package main

import (
	"fallbackchain.io/fallback/functions/degraded"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Tier] { return (&degraded.Handler{Env: env}).Handle })
}
