// Package toolchain builds the programs the local stack runs: the Kubernetes control plane, etcd, the node simulation, the
// CSI sidecars, the S3 server and Velero from the nested Go modules in infra/local/tools, and this repository's own programs in infra/local/cmd. Only the
// go command is needed.
//
// The tools are built once into a cache directory whose name is a digest of everything that decides their content; they are
// built beside it and moved there as a whole, so a directory that exists is complete. Our own programs change often and are
// built at every start; the go command's cache makes that quick.
package toolchain

import "time"

// Event is one line of progress. Events of one step come in order; the last one has Done set.
type Event struct {
	// Step names what is being done, in words for people: "build kubernetes".
	Step string `json:"step"`
	// Detail is how far it is; it may be empty.
	Detail string `json:"detail,omitempty"`
	// Elapsed is the time since the step began.
	Elapsed time.Duration `json:"elapsed,omitempty"`
	// Done marks the last event of a step that went well.
	Done bool `json:"done,omitempty"`
}

// Config says where to build from and to. The zero value finds the source from the working directory, the cache from the
// environment, and reports nothing.
type Config struct {
	// Source is the root of this repository; empty: found by walking up from the working directory.
	Source string
	// Cache is the directory that holds what was built; empty: FALLBACK_CACHE, else the user's cache directory.
	Cache string
	// Progress is called from several goroutines at once; nil: no progress.
	Progress func(Event)
}

func (c Config) report(e Event) {
	if c.Progress != nil {
		c.Progress(e)
	}
}
