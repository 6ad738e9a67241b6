package rehearsal

import (
	"context"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/run"
)

// data finds claims of the workload whose data would not come back. A drill refuses the backup then. A recover keeps the claims that are there,
// and makes those that are missing from what is left in the cluster, else from the CSI snapshot that the backup names: without one, the
// StatefulSet makes an empty one.
func (w *work) data(context.Context) error {
	held := map[string]bool{}
	for _, o := range w.Objects {
		if o.GetKind() == "PersistentVolumeClaim" && o.GetNamespace() == w.Target {
			held[o.GetName()] = true
		}
	}
	for _, name := range w.Required {
		v, _ := w.volumeOf(name)
		subject := "PersistentVolumeClaim " + name
		if w.Drill || w.Evaluate {
			const means = "a drill refuses the backup: an empty volume is not a restored one"
			switch {
			case !held[name]:
				w.found(run.Stop, subject, means, "backup %s does not hold it", w.Backup)
			case !backup.DrillRestores(v.Method):
				w.found(run.Stop, subject, means, "backup %s %s", w.Backup, backup.NotInDrill(v.Method))
			}
		}
		if !w.Drill && w.claimsKnown && v.Method != backup.MethodCSISnapshot && !w.have["PersistentVolumeClaim "+w.Target+"/"+name] {
			w.found(run.Warning, subject, "a recover makes it from a volume or a VolumeSnapshot that is left in the cluster, and empty where there is neither",
				"does not exist on the target, and backup %s names no CSI snapshot of it", w.Backup)
		}
	}
	return nil
}
