package inuse

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// freezeTimeout bounds how long the users of a volume may take to stand still.
const freezeTimeout = 2 * time.Second

// Freeze stops every process that works in dir, and returns what lets them go on. A copy of a directory takes time; a storage
// system's snapshot is one instant. With its users stopped the copy is one instant too, and a database in it recovers from it
// as from a power cut.
func Freeze(dir string) (func(), error) {
	stopped := map[int]bool{}
	thaw := func() {
		for pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	deadline := time.Now().Add(freezeTimeout)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		users, err := Users(dir)
		if err != nil {
			thaw()
			return nil, err
		}
		still := true
		for _, pid := range users {
			// A process may have been started by one that was not yet stopped: look again until none is new.
			if !stopped[pid] {
				stopped[pid], still = true, false
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
					thaw()
					return nil, fmt.Errorf("stop process %d, which works in %s: %w", pid, dir, err)
				}
			} else if s := procState(pid); s != 'T' && s != 't' && s != 'Z' && s != 0 {
				still = false
			}
		}
		if still {
			return thaw, nil
		}
		if time.Now().After(deadline) {
			thaw()
			return nil, fmt.Errorf("the processes that work in %s did not stop within %s", dir, freezeTimeout)
		}
		<-tick.C
	}
}

// ThawAll lets every process below dir go on.
func ThawAll(dir string) error {
	users, err := Users(dir)
	for _, pid := range users {
		if procState(pid) == 'T' {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	return err
}

// Users lists the processes whose working directory is dir or below it, this one left out.
func Users(dir string) ([]int, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	es, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range es {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if err == nil && (cwd == dir || strings.HasPrefix(cwd, dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// procState is the state letter of /proc/PID/stat, 0 when the process is gone.
func procState(pid int) byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name before it is in parentheses and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}
