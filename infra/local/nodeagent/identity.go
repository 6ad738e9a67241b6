package nodeagent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Identity is the user a database runs as. PostgreSQL refuses to run as root.
type Identity struct {
	UID, GID int
	// Switch tells that it is another user than the agent's own, which only root may become.
	Switch bool
}

func (i Identity) String() string { return fmt.Sprintf("%d:%d", i.UID, i.GID) }

// ResolveIdentity chooses the user: the agent's own unless that is root; then the one asked for, else "postgres", else
// "nobody". Negative numbers ask for nobody in particular.
func ResolveIdentity(uid, gid int) (Identity, error) {
	own := Identity{UID: os.Geteuid(), GID: os.Getegid()}
	if own.UID != 0 {
		if uid >= 0 && uid != own.UID {
			return Identity{}, fmt.Errorf("databases are to run as uid %d, but only root can switch users and this is uid %d", uid, own.UID)
		}
		return own, nil
	}
	if uid == 0 {
		return Identity{}, errors.New("databases are to run as uid 0, expected another user: PostgreSQL refuses to run as root")
	}
	if uid > 0 {
		if gid < 0 {
			gid = uid
		}
		return Identity{UID: uid, GID: gid, Switch: true}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		id, err := strconv.Atoi(u.Uid)
		if err != nil || id == 0 {
			continue
		}
		g, err := strconv.Atoi(u.Gid)
		if err != nil {
			continue
		}
		return Identity{UID: id, GID: g, Switch: true}, nil
	}
	return Identity{}, errors.New("PostgreSQL refuses to run as root and this machine has neither the user postgres nor nobody: name one with --run-as-uid")
}

// CanEnter tells whether the user may pass through dir and every directory above it.
func (i Identity) CanEnter(dir string) error {
	if !i.Switch {
		return nil
	}
	if r, err := filepath.EvalSymlinks(dir); err == nil {
		dir = r
	}
	for {
		info, err := os.Stat(dir)
		if err == nil && !i.mayEnter(info) {
			return fmt.Errorf("user %s, who runs the databases, may not enter %s (mode %04o): choose a directory below one that all may enter, or make it so with chmod o+x",
				i, dir, info.Mode().Perm())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil
		}
		dir = up
	}
}

func (i Identity) mayEnter(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch perm := info.Mode().Perm(); {
	case !ok:
		return true
	case int(st.Uid) == i.UID:
		return perm&0o100 != 0
	case int(st.Gid) == i.GID:
		return perm&0o010 != 0
	default:
		return perm&0o001 != 0
	}
}

// own gives path, and with deep everything below it, to the user.
func (i Identity) own(path string, deep bool) error {
	if !i.Switch {
		return nil
	}
	if !deep {
		return os.Lchown(path, i.UID, i.GID)
	}
	return filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, i.UID, i.GID)
	})
}
