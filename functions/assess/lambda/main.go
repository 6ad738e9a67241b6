// Command lambda is the assess function.
package main

import (
	"fallbackchain.io/fallback/functions/assess"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Assess] { return (&assess.Handler{Env: env}).Handle })
}
