package nodeagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"fallbackchain.io/fallback/infra/local/csidriver/inuse"
	"fallbackchain.io/fallback/infra/local/process"
)

// record is one running process, told from a later one with the same ID by its identity.
type record struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	Identity string `json:"identity"`
}

// records keeps the running processes in a file, so that an agent after a killed one can end them.
type records struct {
	mu   sync.Mutex
	path string
	byID map[int]record
}

// endTimeout bounds how long a killed process may take to be gone.
const endTimeout = 10 * time.Second

// takeOver kills what the file still names, and starts afresh. Databases recover from it as from a power cut, which is what the
// end of their agent means to the simulated node.
func takeOver(path string) (*records, error) {
	r := &records{path: path, byID: map[int]record{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	var left []record
	if err := json.Unmarshal(b, &left); err != nil {
		return nil, fmt.Errorf("%s does not hold process records: %w", path, err)
	}
	err = inTurns(func() (bool, error) {
		over := true
		for _, l := range left {
			if l.PID > 1 && stillOurs(l) {
				over = false
				_ = syscall.Kill(-l.PID, syscall.SIGKILL)
				_ = syscall.Kill(l.PID, syscall.SIGKILL)
			}
		}
		return over, nil
	})
	if err != nil {
		return nil, err
	}
	return r, r.save()
}

// eachUserDead kills what works in dir and returns when nothing does.
func eachUserDead(dir string) error {
	return inTurns(func() (bool, error) {
		pids, err := inuse.Users(dir)
		if errors.Is(err, os.ErrNotExist) {
			return true, nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(pids) == 0, err
	})
}

// inTurns asks until done says so; nothing tells of the end of a process that is not a child.
func inTurns(done func() (bool, error)) error {
	deadline := time.Now().Add(endTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("they did not end within %s", endTimeout)
		}
		<-tick.C
	}
}

func (r *records) add(name string, pid int) {
	id, err := process.Identity(pid)
	if err != nil {
		return // it is over already
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[pid] = record{Name: name, PID: pid, Identity: id}
	_ = r.save() // a record that is missing costs a later agent a leftover, which it finds by its directory
}

func (r *records) remove(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, pid)
	_ = r.save()
}

// save replaces the file as a whole.
func (r *records) save() error {
	all := make([]record, 0, len(r.byID))
	for _, e := range r.byID {
		all = append(all, e)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	tmp := r.path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, r.path)
}
