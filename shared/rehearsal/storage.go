package rehearsal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/backup"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/volume"
)

// claims are those that would be restored.
func (w *work) claims() []corev1.PersistentVolumeClaim {
	var out []corev1.PersistentVolumeClaim
	for _, it := range w.items {
		if it.object.GetKind() != "PersistentVolumeClaim" {
			continue
		}
		if c, err := cluster.Decode[corev1.PersistentVolumeClaim](it.object); err == nil {
			out = append(out, *c)
		}
	}
	return out
}

// classes finds the claims' StorageClasses.
func (w *work) classes(ctx context.Context) error {
	claims := w.claims()
	if len(claims) == 0 {
		return nil
	}
	known, err := cluster.List[storagev1.StorageClass](ctx, w.Cluster, cluster.StorageClasses, "", metav1.ListOptions{})
	if err != nil {
		return w.unread("StorageClasses", "whether the claims can be provisioned is not known", err)
	}
	without := map[string][]string{}
	for i := range claims {
		c := &claims[i]
		if c.Spec.StorageClassName != nil && *c.Spec.StorageClassName == "" {
			continue // a volume that somebody made by hand
		}
		class, name := volume.ClassOf(known, c)
		switch v, has := w.volumeOf(c.Name); {
		case class == nil:
			without[name] = append(without[name], c.Name)
		case has && v.Driver != "" && v.Method == backup.MethodCSISnapshot && class.Provisioner != v.Driver:
			w.found(run.Stop, "StorageClass "+class.Name, "the driver cannot make volumes of another driver's snapshots",
				"is of driver %s, and the snapshot of claim %s of %s", class.Provisioner, c.Name, v.Driver)
		}
	}
	for name, users := range without {
		subject := "StorageClass " + name
		switch {
		case name == "":
			w.found(run.Stop, "StorageClass", "the claims stay Pending", "the target has no default class, and %s name none", few(users))
		case !w.Drill && w.inBackup("StorageClass.storage.k8s.io", name):
			w.found(run.Note, subject, "it comes back from the backup", "does not exist on the target")
		default:
			w.found(run.Stop, subject, "the claims stay Pending", "does not exist on the target; %s use it", few(users))
		}
	}
	return nil
}

func few(names []string) string {
	slices.Sort(names)
	return fmt.Sprintf("%d claims (%s)", len(names), strings.Join(run.Few(names, 3, 63), ", "))
}

func (w *work) volumeOf(claim string) (run.BackupVolume, bool) {
	i := slices.IndexFunc(w.Volumes, func(v run.BackupVolume) bool {
		return v.Claim == claim && (v.Namespace == "" || v.Namespace == w.Namespace)
	})
	if i < 0 {
		return run.BackupVolume{}, false
	}
	return w.Volumes[i], true
}

type snapshotClass struct {
	metav1.ObjectMeta `json:"metadata"`
	Driver            string `json:"driver"`
}

// Marks by which Velero, and Kubernetes, choose among several VolumeSnapshotClasses of a driver
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/util/csi/volume_snapshot.go, GetVolumeSnapshotClassForStorageClass).
const (
	veleroClassLabel  = "velero.io/csi-volumesnapshot-class"
	defaultClassAnnot = "snapshot.storage.kubernetes.io/is-default-class"
)

// drivers finds the CSI drivers of the snapshots, and their snapshot classes.
func (w *work) drivers(ctx context.Context) error {
	claims := map[string][]string{}
	for _, v := range w.Volumes {
		if backup.DrillRestores(v.Method) && v.Driver != "" {
			claims[v.Driver] = append(claims[v.Driver], v.Claim)
		}
	}
	if len(claims) == 0 {
		return nil
	}
	if served, err := w.serves("snapshot.storage.k8s.io", "VolumeSnapshot"); err != nil {
		return err
	} else if !served {
		w.found(run.Stop, "kind VolumeSnapshot", "no volume can be made of a snapshot: install the snapshot controller and its CRDs", "the target does not serve snapshot.storage.k8s.io")
		return nil
	}
	classes, err := cluster.List[snapshotClass](ctx, w.Cluster, cluster.VolumeSnapshotClasses, "", metav1.ListOptions{})
	unread := err != nil
	if unread {
		if err := w.unread("VolumeSnapshotClasses", "whether the driver finds its settings for snapshots is not known", err); err != nil {
			return err
		}
	}
	nodes, err := cluster.List[storagev1.CSINode](ctx, w.Cluster, cluster.CSINodes, "", metav1.ListOptions{})
	if err != nil {
		if err := w.unread("CSINodes", "on which nodes the driver runs is not known", err); err != nil {
			return err
		}
	}
	for driver, users := range claims {
		if err := w.driver(ctx, driver, users, nodes); err != nil {
			return err
		}
		if !unread {
			w.snapshotClasses(driver, classes)
		}
	}
	return nil
}

func (w *work) driver(ctx context.Context, driver string, users []string, nodes []storagev1.CSINode) error {
	subject := "CSIDriver " + driver
	onNodes := slices.ContainsFunc(nodes, func(n storagev1.CSINode) bool {
		return slices.ContainsFunc(n.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == driver })
	})
	_, err := cluster.Get[storagev1.CSIDriver](ctx, w.Cluster, cluster.CSIDrivers, "", driver)
	switch {
	case err == nil && onNodes:
	case err == nil:
		w.found(w.stopsDrill(), subject, "no pod can mount a volume of it", "is registered on no node of the target")
	case !apierrors.IsNotFound(err):
		return w.unread(subject, "whether its volumes can be restored is not known", err)
	case !w.Drill && w.inBackup("CSIDriver.storage.k8s.io", driver):
		w.found(run.Note, subject, "it comes back from the backup", "does not exist on the target")
	case onNodes:
		w.found(run.Warning, subject, "the driver runs without it, with the defaults for attaching and mounting", "does not exist on the target")
	default:
		w.found(run.Stop, subject, "the volumes cannot be made", "is not installed on the target; %s need it", few(users))
	}
	return nil
}

// snapshotClasses: since 1.15 Velero restores CSI snapshots without a class, but a driver whose snapshots need credentials finds them
// there, and the next backup of this cluster needs one that Velero can choose.
func (w *work) snapshotClasses(driver string, classes []snapshotClass) {
	var own []string
	marked := false
	for _, c := range classes {
		if c.Driver == driver {
			own = append(own, c.Name)
			_, labelled := c.Labels[veleroClassLabel]
			marked = marked || labelled || c.Annotations[defaultClassAnnot] == "true"
		}
	}
	switch {
	case len(own) == 0 && !w.Drill && slices.ContainsFunc(w.Objects, snapshotClassOf(driver)):
		w.found(run.Note, "VolumeSnapshotClass", "it comes back from the backup", "the target has none for driver %s", driver)
	case len(own) == 0:
		w.found(run.Warning, "VolumeSnapshotClass", "a driver that needs a secret for its snapshots cannot read them, and no backup of this cluster can take one",
			"the target has none for driver %s", driver)
	case len(own) > 1 && !marked:
		w.found(run.Warning, "VolumeSnapshotClass", "Velero cannot choose among them: a backup of this cluster fails",
			"driver %s has %s, and none has label %s or is the default", driver, strings.Join(run.Few(own, 4, 63), ", "), veleroClassLabel)
	}
}
