package testserver

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// unprivileged is another user when the test runs as root, the first of these that there is: database servers refuse to run as root.
// It is nil when the server runs as the test's own.
func unprivileged(names ...string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		if uerr == nil && gerr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("root without a user %s to run a database server as", strings.Join(names, " or "))
}

// MayEnter holds for directories that everybody may pass, when the user is another one.
func (h *Home) MayEnter(dir string) error {
	if h.as == nil {
		return nil
	}
	for {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("user %d may not enter %s", h.as.Uid, dir)
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil
		}
		dir = up
	}
}

// Own gives Dir and all that is in it to the user.
func (h *Home) Own() {
	h.tb.Helper()
	if h.as == nil {
		return
	}
	err := filepath.WalkDir(h.Dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(h.as.Uid), int(h.as.Gid))
	})
	if err != nil {
		h.tb.Fatal(err)
	}
}
