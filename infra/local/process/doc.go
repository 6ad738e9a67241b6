// Package process starts, watches, restarts and stops the programs of a local stack as child processes.
//
// Each child leads a process group of its own, so that Ctrl-C in a terminal reaches only the parent, which then stops the
// children in reverse order. On Linux the kernel kills a child when its parent dies. What is running is written to a state file,
// each with its process ID and its start time: the next start after a crash ends exactly those that are still the same process,
// never one that happens to have got the same ID.
package process

import (
	"fmt"
	"time"
)

// Spec says what to run.
type Spec struct {
	// Name is unique in a manager and names the child in logs and events.
	Name string
	// Path is the program, Args its arguments without the program's name.
	Path string
	Args []string
	// Env is added to the parent's environment.
	Env []string
	// Dir is the working directory; empty: the parent's.
	Dir string
	// Log is the file both outputs are appended to.
	Log string
	// Grace is the time between SIGTERM and SIGKILL; 0: ten seconds.
	Grace time.Duration
	// Restart starts the child again when it exits without having been asked to, with a growing pause, until it has failed five
	// times in a row within half a minute each.
	Restart bool
	// Detached leaves the child running when the parent dies (only tests and programs that need it).
	Detached bool
}

// State is where a child stands.
type State string

const (
	// Running: started, and not known to have exited.
	Running State = "Running"
	// Restarting: exited unasked, about to be started again.
	Restarting State = "Restarting"
	// Failed: exited unasked and not started again.
	Failed State = "Failed"
	// Stopped: stopped on request.
	Stopped State = "Stopped"
)

// Status describes one child.
type Status struct {
	Name     string    `json:"name"`
	State    State     `json:"state"`
	PID      int       `json:"pid,omitempty"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts,omitempty"`
	// LastExit is how it last ended unasked, with the end of its log.
	LastExit string `json:"lastExit,omitempty"`
	Log      string `json:"log"`
}

// Event reports that a child exited without having been asked to.
type Event struct {
	Name string
	// State is what follows: Restarting or Failed.
	State State
	// Reason is how it exited, with the end of its log.
	Reason string
}

func (e Event) String() string {
	return fmt.Sprintf("%s exited unasked and is %s: %s", e.Name, e.State, e.Reason)
}
