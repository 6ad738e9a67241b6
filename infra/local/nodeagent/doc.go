// Package nodeagent is the half of the simulated kubelet that runs things; the other half, which speaks only with the API
// server, is kwok (see infra/local/kwok for the annotations between them).
//
// For each pod on a simulated node it waits until every volume of the pod is attached to the node, reports the volumes in use,
// starts what stands for the pod's containers, and tells when that answers. What a container does is chosen by its image:
//
//   - local/postgres[:MAJOR]: a PostgreSQL server on the volume's directory, behaving as the docker image of the same name;
//   - local/mariadb: a MariaDB server on the volume's directory, likewise, of whichever version the machine has or package mariadb brings;
//     the tag chooses none;
//   - local/csi-controller: the CSI provisioner, attacher and snapshotter on the driver's socket;
//   - anything else: nothing.
//
// A node that is gone, not simulated, or has PowerAnnotation "off" is dead: its processes are killed at once and nothing is
// reported for it any more, so its volumes stay in use and attached.
package nodeagent

const (
	// PowerAnnotation with the value PowerOff on a node switches the node off.
	PowerAnnotation = "local.fallbackchain.io/power"
	// PowerOff is the value of PowerAnnotation.
	PowerOff = "off"
	// Finalizer keeps a deleted pod until its processes have ended.
	Finalizer = "local.fallbackchain.io/process"
	// PostgresImage is the repository of images that run a PostgreSQL server; the tag is the major version wanted.
	PostgresImage = "local/postgres"
	// MariaDBImage is the repository of images that run a MariaDB server.
	MariaDBImage = "local/mariadb"
	// ControllerImage is the repository of images that run the CSI sidecars.
	ControllerImage = "local/csi-controller"
)
