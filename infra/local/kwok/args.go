package kwok

import "fmt"

// Flags of the program.
type Flags struct {
	Kubeconfig string
	// Cert and Key serve the kubelet's port, which the API server connects to for port-forwards.
	Cert, Key string
	Port      int
}

// Args are the program's arguments. Stages and port-forwards are objects of the cluster, so that the node agent and the faults
// can write them; everything else the simulation could read is left out. The lease is the kubelet's default, 40 seconds, renewed
// every ten.
func Args(f Flags) []string {
	return []string{
		"--kubeconfig", f.Kubeconfig, "--config", "/dev/null",
		"--manage-nodes-with-annotation-selector", ManagedAnnotation + "=" + ManagedValue,
		"--node-ip", "127.0.0.1", "--node-port", fmt.Sprint(f.Port), "--server-address", fmt.Sprintf("127.0.0.1:%d", f.Port),
		"--tls-cert-file", f.Cert, "--tls-private-key-file", f.Key,
		"--node-lease-duration-seconds", "40", "--cidr", "10.244.0.0/16",
		"--enable-crds", "Stage,PortForward", "-v", "INFO",
	}
}
