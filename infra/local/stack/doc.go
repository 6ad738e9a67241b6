// Package stack runs a whole local Kubernetes: real etcd, API server, controller manager, scheduler, CSI sidecars, snapshot
// controller, S3 server and Velero as child processes on loopback, with simulated nodes whose pods are run by the node agent. One process supervises
// them; their state is in one directory, so several stacks run side by side, a stack can be stopped and started again with its
// data, and the next start after a crash takes over.
package stack

import (
	"time"

	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/infra/local/process"
	"fallbackchain.io/fallback/infra/local/toolchain"
)

// The components, by which they are stopped, started and named in logs.
const (
	Etcd               = "etcd"
	APIServer          = "kube-apiserver"
	ControllerManager  = "kube-controller-manager"
	Scheduler          = "kube-scheduler"
	Kwok               = "kwok"
	SnapshotController = "snapshot-controller"
	CSIDriver          = "local-csi-driver"
	NodeAgent          = "local-node-agent"
	S3                 = "versitygw"
	Velero             = "velero"
)

// What the stack calls its storage, as the CSI driver, the sample and the faults know it.
const (
	DriverName  = "local.csi.fallbackchain.io"
	TopologyKey = "topology.local.csi.fallbackchain.io/zone"
	// StorageClass and SnapshotClass are the names of the only classes.
	StorageClass  = "local-csi"
	SnapshotClass = "local-csi"
	// CSIControllerNamespace and CSIController name the Deployment whose pod runs the CSI sidecars.
	CSIControllerNamespace = "kube-system"
	CSIController          = "csi-controller"
)

// DefaultNodes is the number of simulated nodes, each in its own zone.
const DefaultNodes = 3

// Event is a line of progress.
type Event = toolchain.Event

// Options of a stack. The zero value starts the default stack with its programs built from the source tree around the working
// directory.
type Options struct {
	// Dir is the state directory; empty: DefaultDir(Name).
	Dir string
	// Name is the stack's name; empty: DefaultName. It names the cluster and the context in kubeconfigs.
	Name string
	// Nodes is the number of simulated nodes, 1 to kwok.MaxNodes; 0: as before, or DefaultNodes.
	Nodes int
	// Tools says where the programs are built from and to. Its Progress is replaced by the one below.
	Tools toolchain.Config
	// Progress is called from several goroutines; nil: none.
	Progress func(Event)
	// OnExit is called when a component exits without having been asked to; nil: nothing.
	OnExit func(process.Event)
	// StartTimeout bounds the start without the building; 0: two minutes.
	StartTimeout time.Duration
	// Tokens is asked about bearer tokens; the zero value: only the certificates of kubeconfigs are accepted.
	Tokens TokenWebhook
}

// Status describes a stack.
type Status struct {
	Name       string `json:"name"`
	Dir        string `json:"dir"`
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	AuditLog   string `json:"auditLog"`
	// S3 is the URL of the S3 server, BackupLocation where in it Velero's backups are.
	S3             string `json:"s3"`
	BackupLocation string `json:"backupLocation"`
	// Running is true while a supervisor answers; Ready while every component runs.
	Running bool `json:"running"`
	Ready   bool `json:"ready"`
	// Supervisor is its process ID.
	Supervisor int       `json:"supervisor,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	// Took is how long the start took, without building.
	Took       time.Duration    `json:"tookNanoseconds,omitempty"`
	Nodes      int              `json:"nodes"`
	Components []process.Status `json:"components,omitempty"`
}

// NodeName is the name of the i-th simulated node, from 0.
func NodeName(i int) string { return kwok.NodeName(i) }
