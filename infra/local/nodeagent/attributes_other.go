//go:build unix && !linux

package nodeagent

import "syscall"

// attributes put a child into a process group of its own and give it its user. There is no signal on the agent's death here:
// the next agent ends what is left.
func (i Identity) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if i.Switch {
		a.Credential = &syscall.Credential{Uid: uint32(i.UID), Gid: uint32(i.GID)}
	}
	return a
}
