// Package kwok holds what the node simulation (https://kwok.sigs.k8s.io) needs: its Stages, its nodes and its flags.
//
// The simulation plays the part of the kubelet that only speaks with the API server: node status, leases, pod status and the
// end of a deleted pod. What a pod really does is known to the node agent, which tells by two annotations:
//
//   - ReadyAnnotation absent: the pod is not running yet; it stays Pending (ContainerCreating), as with a kubelet that waits
//     for volumes;
//   - "false": its process was started and does not answer (yet, or no more): Running and not Ready;
//   - "true": Running and Ready;
//   - RestartsAnnotation: how often its process was started again.
//
// A deleted pod goes when it has no finalizer: the agent holds one while a process of the pod still runs. A node is taken from
// the simulation by removing its ManagedAnnotation: no heartbeat, no pod of it changes any more, as with a dead node.
package kwok

const (
	// ReadyAnnotation says whether a pod's process answers: absent, "false" or "true".
	ReadyAnnotation = "local.fallbackchain.io/ready"
	// RestartsAnnotation is the restart count shown in the container statuses, in decimal.
	RestartsAnnotation = "local.fallbackchain.io/restarts"
	// ManagedAnnotation with the value ManagedValue makes the simulation play a node.
	ManagedAnnotation = "kwok.x-k8s.io/node"
	// ManagedValue is the value of ManagedAnnotation.
	ManagedValue = "fake"
	// NotReadyLabel with the value "true" makes the simulation report a node as not ready; without it the node recovers.
	NotReadyLabel = "node-not-ready.stage.kwok.x-k8s.io"
	// AttachAnnotation hands attaching to the attach/detach controller, as every kubelet does
	// (https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/volume/util/util.go).
	AttachAnnotation = "volumes.kubernetes.io/controller-managed-attach-detach"
)
