package nodeagent

import (
	"os"
	"path/filepath"
	"testing"
)

// siteOf is an empty volume of a container with these variables.
func siteOf(t *testing.T, env map[string]string) site {
	t.Helper()
	return site{volume: t.TempDir(), env: env, as: Identity{UID: os.Geteuid(), GID: os.Getegid()}, procs: newRecords(t), log: filepath.Join(t.TempDir(), "log")}
}
