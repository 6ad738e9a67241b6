// Command lambda is the lease function.
package main

import (
	"fallbackchain.io/fallback/functions/lease"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Lease] { return (&lease.Handler{Env: env}).Handle })
}
