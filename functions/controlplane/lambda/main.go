// Command lambda is the controlplane function.
package main

import (
	"fallbackchain.io/fallback/functions/controlplane"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Tier] { return (&controlplane.Handler{Env: env}).Handle })
}
