package backup

import (
	"path"
	"strings"
)

// kind is one of the objects that a backup consists of
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/persistence/object_store_layout.go).
type kind int

const (
	kindMetadata kind = iota
	kindContents
	kindLogs
	kindResourceList
	kindVolumeInfo
	kindItemOperations
	kindPodVolumeBackups
	kindVolumeSnapshots
	kindResults
	// Those that follow are not written by every version of Velero.
	kindCSISnapshots
	kindCSIContents
	kindCSIClasses
	kindManifest
	kindSignature
	kindOther
)

// Names of our own objects beside Velero's. Velero lists its backups by common prefix and reads the objects below by name, so that it
// does not see these, and DeleteBackup removes everything below the prefix
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/persistence/object_store.go, ListBackups, DeleteBackup).
const (
	ManifestFile  = "fallback-manifest.json"
	SignatureFile = ManifestFile + ".sig"
)

const backupsDir = "backups/"

// part describes a kind of object.
type part struct {
	kind kind
	// name is the object's name; with a leading "-" or "." it follows the backup's own.
	name string
	// always tells that Velero 1.18 writes it with every backup
	// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/persistence/object_store.go, PutBackup).
	always bool
	// means is what it means for a restore when it is not there or not whole.
	means string
}

func parts() []part {
	return []part{
		{kindMetadata, "velero-backup.json", true, "Velero does not know the backup without it: a Restore that names it fails validation"},
		{kindContents, ".tar.gz", true, "the objects are in it: a restore fails, or brings back only some of them"},
		{kindResourceList, "-resource-list.json.gz", true, "nothing tells which objects the backup must hold: what is lost from the tarball would not be missed"},
		{kindVolumeInfo, "-volumeinfo.json.gz", true, "Velero does not know how the volumes' data was kept: claims come back empty, or not at all"},
		{kindItemOperations, "-itemoperations.json.gz", true, "it is not known whether the snapshots and data movements of the backup ended well"},
		{kindPodVolumeBackups, "-podvolumebackups.json.gz", true, "volumes that were kept by file system backup cannot be restored"},
		{kindVolumeSnapshots, "-volumesnapshots.json.gz", true, "volumes that were kept by native snapshots come back empty"},
		{kindResults, "-results.gz", true, "it is not known which errors and warnings the backup met"},
		{kindLogs, "-logs.gz", true, "a restore does not read it, but the backup is not as Velero wrote it"},
		{kindCSISnapshots, "-csi-volumesnapshots.json.gz", false, "snapshots of the backup cannot be made known to another cluster"},
		{kindCSIContents, "-csi-volumesnapshotcontents.json.gz", false, "snapshots of the backup cannot be made known to another cluster"},
		{kindCSIClasses, "-csi-volumesnapshotclasses.json.gz", false, "snapshot classes of the backup cannot be made known to another cluster"},
		{kindManifest, ManifestFile, false, "it is not known whether the backup is what Velero wrote"},
		{kindSignature, SignatureFile, false, "the manifest beside it cannot be believed, and with it none of the digests"},
	}
}

// dir is the prefix of a backup's objects.
func dir(backup string) string { return backupsDir + backup + "/" }

// key of the object of a kind.
func (p part) key(backup string) string {
	if strings.HasPrefix(p.name, "-") || strings.HasPrefix(p.name, ".") {
		return dir(backup) + backup + p.name
	}
	return dir(backup) + p.name
}

// partOf tells what an object of the backup is.
func partOf(backup, key string) part {
	for _, p := range parts() {
		if p.key(backup) == key {
			return p
		}
	}
	return part{kind: kindOther, name: path.Base(key), means: "Velero does not read it"}
}

func keyOf(backup string, k kind) string {
	for _, p := range parts() {
		if p.kind == k {
			return p.key(backup)
		}
	}
	return dir(backup)
}

// ours tells whether Velero did not write the object.
func (k kind) ours() bool { return k == kindManifest || k == kindSignature }

// ValidName tells whether a name can be a backup's: a single element of a key. Everything else about it is Velero's to say.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 253 && !strings.ContainsAny(name, "/\\\x00\n")
}
