package backup

// DrillRestores tells whether a drill brings back the data of a volume that was kept by the method: from a CSI snapshot, moved into the bucket
// or not. A drill restores neither Pods nor PersistentVolumes, and Velero brings back the data of the other methods with these
// (https://velero.io/docs/v1.18/file-system-backup/#to-restore).
func DrillRestores(method string) bool {
	return method == MethodCSISnapshot || method == MethodDataMovement
}

// NotInDrill says of a method why a drill does not bring its data back; the subject is the backup, or the claim.
func NotInDrill(method string) string {
	switch method {
	case MethodPodVolumeBackup:
		return "holds its data as a file-system backup, which Velero restores with Pods only, and a drill restores no Pods"
	case MethodNativeSnapshot:
		return "holds its data as a native snapshot, which Velero restores as a PersistentVolume object, and a drill restores none"
	}
	return "does not hold its data"
}
