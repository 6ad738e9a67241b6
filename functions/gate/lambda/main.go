// Command lambda is the gate function.
package main

import (
	"fallbackchain.io/fallback/functions/gate"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/awsedge/secrets"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Gate] {
		return (&gate.Handler{Env: env, Secrets: secrets.Default()}).Handle
	})
}
