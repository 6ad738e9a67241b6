package toolchain

// Group is one nested Go module: its tools are built together, its assets are files of its dependencies that the stack needs
// at run time (custom resource definitions), so that a later start needs neither the go command nor the module cache.
type Group struct {
	// Name is the directory below infra/local/tools.
	Name string
	// Binaries are the names of the programs, as they are called in the cache.
	Binaries []string
	// Rename maps the name the go command gives a program to the one in Binaries, where they differ.
	Rename map[string]string
	// VersionOf is the module whose version the programs report as their own, one of versionFlags; empty: none.
	VersionOf string
	// Assets are copied from dependencies.
	Assets []Asset
}

// Asset is a set of files of one module, copied below share/<To>.
type Asset struct {
	Module string
	Files  []string
	To     string
}

// Kubernetes is the control plane with its etcd.
func Kubernetes() Group {
	return Group{
		Name:     "kubernetes",
		Binaries: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"},
		// etcd's main package is go.etcd.io/etcd/server/v3, which the go command calls "server".
		Rename:    map[string]string{"server": "etcd"},
		VersionOf: "k8s.io/kubernetes",
	}
}

// Kwok is the node simulation.
func Kwok() Group {
	return Group{
		Name:     "kwok",
		Binaries: []string{"kwok"},
		Assets: []Asset{{Module: "sigs.k8s.io/kwok", To: "crds", Files: []string{
			"kustomize/crd/bases/kwok.x-k8s.io_stages.yaml",
			"kustomize/crd/bases/kwok.x-k8s.io_portforwards.yaml",
		}}},
	}
}

// CSI is the CSI sidecars, the snapshot controller and the snapshot resource definitions.
func CSI() Group {
	return Group{
		Name:     "csi",
		Binaries: []string{"csi-attacher", "csi-provisioner", "csi-snapshotter", "snapshot-controller"},
		Assets: []Asset{{Module: "github.com/kubernetes-csi/external-snapshotter/client/v8", To: "crds", Files: []string{
			"config/crd/snapshot.storage.k8s.io_volumesnapshotclasses.yaml",
			"config/crd/snapshot.storage.k8s.io_volumesnapshotcontents.yaml",
			"config/crd/snapshot.storage.k8s.io_volumesnapshots.yaml",
		}}},
	}
}

// S3 is the object store that backups go to.
func S3() Group {
	return Group{Name: "s3", Binaries: []string{"versitygw"}}
}

// Velero is the backup server, its plugin for S3 and its resource definitions.
func Velero() Group {
	return Group{
		Name:      "velero",
		Binaries:  []string{"velero", "velero-plugin-for-aws"},
		VersionOf: "github.com/vmware-tanzu/velero",
		Assets: []Asset{{Module: "github.com/vmware-tanzu/velero", To: "crds", Files: []string{
			"config/crd/v1/bases/velero.io_backuprepositories.yaml",
			"config/crd/v1/bases/velero.io_backups.yaml",
			"config/crd/v1/bases/velero.io_backupstoragelocations.yaml",
			"config/crd/v1/bases/velero.io_deletebackuprequests.yaml",
			"config/crd/v1/bases/velero.io_downloadrequests.yaml",
			"config/crd/v1/bases/velero.io_podvolumebackups.yaml",
			"config/crd/v1/bases/velero.io_podvolumerestores.yaml",
			"config/crd/v1/bases/velero.io_restores.yaml",
			"config/crd/v1/bases/velero.io_schedules.yaml",
			"config/crd/v1/bases/velero.io_serverstatusrequests.yaml",
			"config/crd/v1/bases/velero.io_volumesnapshotlocations.yaml",
			"config/crd/v2alpha1/bases/velero.io_datadownloads.yaml",
			"config/crd/v2alpha1/bases/velero.io_datauploads.yaml",
		}}},
	}
}

// Sanity is the conformance test of CSI drivers; only tests use it.
func Sanity() Group {
	return Group{Name: "csi-sanity", Binaries: []string{"csi-sanity"}}
}

// Stack is what a local stack needs, the quickest to build first, so that a mistake shows early.
func Stack() []Group {
	return []Group{S3(), Kwok(), CSI(), Velero(), Kubernetes()}
}
