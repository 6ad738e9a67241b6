// Package faults breaks the sample on a local stack, each time in one way that people meet in earnest, and returns when the
// cluster really shows it. sample.Reset undoes all of them.
package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/cluster"
)

// Fault is one way to break the sample.
type Fault struct {
	Name string `json:"name"`
	// What it does, in one sentence.
	What string `json:"what"`
	// Shows is the way a recovery is expected to go.
	Shows string `json:"shows"`

	do func(context.Context, *breaker) error
}

// List lists the faults in the order of their damage.
func List() []Fault {
	return []Fault{
		{"attach-error", "the storage system does not attach one server's volume until the attachment is reset", "VolumeAttachmentSync", attachError},
		{"dead-node", "a node dies with a server's volume attached, and its replacement cannot attach it", "VolumeAttachmentSync", deadNode},
		{"csi-driver-gone", "the CSI driver and its controller are deleted, and a restarted server waits for its volume", "ControlPlaneReconcile", driverGone},
		{"failed-scheduling", "the servers ask for a node that does not exist, and one is restarted", "demotion by a FailedScheduling that waiting cannot change", failedScheduling},
		{"objects-deleted", "the StatefulSet, its Services and its ConfigMap are deleted; the volumes stay", "ControlPlaneReconcile", objectsDeleted},
		{"everything-gone", "the namespace is deleted with its volumes, and the inventory no longer verifies; the snapshots stay", "DegradedStatefulSet in quarantine", everythingGone},
		{"bad-data", "orders are deleted on one server", "the gate says no, the snapshot's rows come back", badData},
		{"api-server-down", "the API server is stopped for a while", "a run that waits, and goes on", apiServerDown},
	}
}

// Options of a break. Kubeconfig and StackDir default to each other's.
type Options struct {
	// Kubeconfig of an administrator; empty: the stack's own.
	Kubeconfig string
	// StackDir is the state directory of the stack.
	StackDir string
	// SampleDir is where the sample was deployed to; empty: sample.DefaultDir(StackDir).
	SampleDir string
	// For is how long api-server-down lasts; 0: DefaultOutage.
	For time.Duration
	// Timeout bounds the wait until the fault shows; 0: DefaultTimeout.
	Timeout time.Duration
	// Progress is called with what is done, in words for people; nil: nothing.
	Progress func(string)
}

const (
	// DefaultOutage is how long api-server-down lasts.
	DefaultOutage = 20 * time.Second
	// DefaultTimeout bounds the wait until a fault shows.
	DefaultTimeout = 2 * time.Minute
)

// ErrUnknown means that there is no fault of that name.
var ErrUnknown = errors.New("unknown fault")

// Break breaks the sample and returns when the cluster shows it.
func Break(ctx context.Context, name string, o Options) error {
	all := List()
	i := slices.IndexFunc(all, func(f Fault) bool { return f.Name == name })
	if i < 0 {
		var names []string
		for _, f := range all {
			names = append(names, f.Name)
		}
		return fmt.Errorf("%w %q, expected one of %s", ErrUnknown, name, strings.Join(names, ", "))
	}
	if o.StackDir == "" {
		return errors.New("the stack's state directory is empty, expected that of a running local stack")
	}
	b := &breaker{o: o, layout: stack.Layout{Dir: o.StackDir}}
	if b.o.Kubeconfig == "" {
		b.o.Kubeconfig = b.layout.Kubeconfig()
	}
	if b.o.SampleDir == "" {
		b.o.SampleDir = sample.DefaultDir(o.StackDir)
	}
	if b.o.For == 0 {
		b.o.For = DefaultOutage
	}
	if b.o.Timeout == 0 {
		b.o.Timeout = DefaultTimeout
	}
	var err error
	if b.c, err = cluster.FromKubeconfig(b.o.Kubeconfig, ""); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, b.o.Timeout+b.o.For, fmt.Errorf("it did not show within %s", b.o.Timeout))
	defer cancel()
	if err := all[i].do(ctx, b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
