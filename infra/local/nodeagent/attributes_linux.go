package nodeagent

import "syscall"

// attributes put a child into a process group of its own, give it its user, and have the kernel kill it when the agent dies.
func (i Identity) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if i.Switch {
		a.Credential = &syscall.Credential{Uid: uint32(i.UID), Gid: uint32(i.GID)}
	}
	return a
}
