package inuse

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// freezeTimeout bounds how long the users of a volume may take to stand still.
const freezeTimeout = 2 * time.Second

// vforkPatience is when a process that still waits uninterruptibly, and whose child is stopped, is taken for the parent of a vfork: the
// kernel holds it until the child executes its program, which a stopped one does not. Until then it may be a disk that it waits for.
const vforkPatience = freezeTimeout / 8

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
	began := time.Now()
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
				still = still && s == 'D' && time.Since(began) > vforkPatience && hasStoppedChild(pid, users)
			}
		}
		if still {
			return thaw, nil
		}
		if time.Since(began) > freezeTimeout {
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
		if s := procState(pid); s == 'T' || s == 'D' { // D: stopped in the middle of a vfork
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

// hasStoppedChild tells whether one of the users is a child of pid and stopped.
func hasStoppedChild(pid int, users []int) bool {
	return slices.ContainsFunc(users, func(u int) bool {
		state, parent := procStat(u)
		return state == 'T' && parent == pid
	})
}

// procState is the state letter of a process, 0 when it is gone.
func procState(pid int) byte {
	state, _ := procStat(pid)
	return state
}

// procStat reads the state letter and the parent from /proc/PID/stat; the state is 0 when the process is gone.
func procStat(pid int) (state byte, parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The name before it is in parentheses and may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 2 || len(f[0]) != 1 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(string(f[1]))
	return f[0][0], parent
}
