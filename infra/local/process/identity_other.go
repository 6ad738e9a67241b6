//go:build unix && !linux

package process

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes give a child a process group of its own. There is no signal on the parent's death here: the next start takes over.
func attributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Identity returns what tells a process from a later one with the same ID: its start time as ps prints it.
func Identity(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", err
	}
	state, start, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !ok || strings.HasPrefix(state, "Z") {
		return "", errors.New("it has exited")
	}
	return strings.TrimSpace(start), nil
}

func awaitExit(ctx context.Context, pid int, identity string) { awaitExitInTurns(ctx, pid, identity) }
