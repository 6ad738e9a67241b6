// Command lambda is the restore function.
package main

import (
	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[run.Restore] { return (&restore.Handler{Env: env}).Handle })
}
