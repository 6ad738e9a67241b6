package stack

// The ports of a stack, by what listens on them.
const (
	portEtcd      = "etcd"
	portEtcdPeer  = "etcd-peer"
	portAPIServer = "kube-apiserver"
	portManager   = "kube-controller-manager"
	portScheduler = "kube-scheduler"
	portKwok      = "kwok"
	portS3        = "versitygw"
	// portVelero serves Velero's metrics.
	portVelero         = "velero"
	portVeleroProfiler = "velero-profiler"
)

func portNames() []string {
	return []string{portEtcd, portEtcdPeer, portAPIServer, portManager, portScheduler, portKwok, portS3, portVelero, portVeleroProfiler}
}
