package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributes give a child a process group of its own and have the kernel kill it when the parent dies.
func attributes(detached bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if !detached {
		a.Pdeathsig = syscall.SIGKILL
	}
	return a
}

// Identity returns what tells a process from a later one with the same ID: the boot and the start time in clock ticks since it,
// field 22 of /proc/PID/stat (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html). A process that has exited and
// was not waited for has none.
func Identity(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	start, err := startTicks(string(stat))
	if err != nil {
		return "", fmt.Errorf("process %d: %w", pid, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + "/" + start, nil
}

// startTicks reads the start time from a stat line. The program's name, in parentheses, may itself contain spaces and
// parentheses, so fields are counted from the last one.
func startTicks(stat string) (string, error) {
	i := strings.LastIndexByte(stat, ')')
	if i < 0 {
		return "", errors.New("stat has no program name")
	}
	f := strings.Fields(stat[i+1:]) // f[0] is field 3, the state
	const start = 22 - 3
	if len(f) <= start {
		return "", fmt.Errorf("stat has %d fields, expected more than 22", len(f)+2)
	}
	if f[0] == "Z" || f[0] == "X" {
		return "", errors.New("it has exited")
	}
	if _, err := strconv.ParseUint(f[start], 10, 64); err != nil {
		return "", fmt.Errorf("start time %q is not a number", f[start])
	}
	return f[start], nil
}

// awaitExit returns when the process is gone or ctx ends. The kernel tells through a process file descriptor; a kernel without
// it (before 5.3) is asked in turns.
func awaitExit(ctx context.Context, pid int, identity string) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		awaitExitInTurns(ctx, pid, identity)
		return
	}
	defer unix.Close(fd)
	for ctx.Err() == nil && Alive(pid, identity) {
		timeout := time.Second
		if d, ok := ctx.Deadline(); ok {
			timeout = min(timeout, time.Until(d))
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(1, int(timeout.Milliseconds())))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
