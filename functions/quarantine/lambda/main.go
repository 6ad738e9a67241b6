// Command lambda is the quarantine function.
package main

import (
	"fallbackchain.io/fallback/functions/quarantine"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Quarantine] { return (&quarantine.Handler{Env: env}).Handle })
}
