// Command lambda is the backup function.
package main

import (
	"fallbackchain.io/fallback/functions/backup"
	"fallbackchain.io/fallback/shared/awsedge"
	"fallbackchain.io/fallback/shared/awsedge/backupkey"
	"fallbackchain.io/fallback/shared/step"
)

func main() {
	awsedge.Start(func(env *step.Env) awsedge.Step[any] {
		env.BackupKey = backupkey.Open
		return (&backup.Handler{Env: env}).Handle
	})
}
