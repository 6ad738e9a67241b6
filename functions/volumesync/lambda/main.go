// Command lambda is the volumesync function.
package main

import (
	"fallbackchain.io/fallback/functions/volumesync"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Tier] { return (&volumesync.Handler{Env: env}).Handle })
}
