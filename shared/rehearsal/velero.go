package rehearsal

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/velero"
)

var priorityClasses = schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}

// named is any object's name.
type named struct {
	metav1.ObjectMeta `json:"metadata"`
}

// location is the part of a BackupStorageLocation that is read here
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/apis/velero/v1/backupstoragelocation_types.go).
type location struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ObjectStorage struct {
			Bucket string `json:"bucket"`
			Prefix string `json:"prefix"`
		} `json:"objectStorage"`
		ValidationFrequency *metav1.Duration `json:"validationFrequency,omitempty"`
	} `json:"spec"`
	Status struct {
		Phase              string       `json:"phase"`
		Message            string       `json:"message"`
		LastValidationTime *metav1.Time `json:"lastValidationTime,omitempty"`
	} `json:"status"`
}

// velero looks at what a drill's restore needs of Velero in the cluster.
func (w *work) velero(ctx context.Context) error {
	ns, name := w.Velero.Namespace, w.Velero.StorageLocation
	subject := "BackupStorageLocation " + ns + "/" + name
	const means = "Velero does not find the backup here"
	if served, err := w.serves(velero.Group, "BackupStorageLocation"); err != nil {
		return err
	} else if !served {
		w.found(w.stopsDrill(), "Velero", "a drill restores with it", "is not installed on the target (velero.io is not served)")
		return nil
	}
	l, err := cluster.Get[location](ctx, w.Cluster, velero.BackupStorageLocations, ns, name)
	switch {
	case apierrors.IsNotFound(err):
		w.found(w.stopsDrill(), subject, means, "does not exist on the target")
		return nil
	case err != nil:
		return w.unread(subject, "whether Velero finds the backup is not known", err)
	}
	if at := place(l.Spec.ObjectStorage.Bucket, l.Spec.ObjectStorage.Prefix); !velero.SameLocation(at, w.Velero.Location) {
		w.found(w.stopsDrill(), subject, "Velero would look for the backup elsewhere than it was verified", "is %s, and the plan's location is %s", at, w.Velero.Location)
	}
	switch l.Status.Phase {
	case velero.LocationAvailable:
	case "":
		w.found(run.Warning, subject, "Velero has not said yet whether it can read it", "has no phase")
	default:
		w.found(w.stopsDrill(), subject, means, "is %s: %s", l.Status.Phase, run.Short(l.Status.Message, 160))
	}
	if err := w.backup(ctx); err != nil {
		return err
	}
	return w.server(ctx, l)
}

func place(bucket, prefix string) string {
	return strings.TrimSuffix("s3://"+path.Join(bucket, prefix), "/")
}

// backup looks for the Backup object that a Restore refers to. Velero makes it from the bucket.
func (w *work) backup(ctx context.Context) error {
	subject := "Backup " + w.Velero.Namespace + "/" + w.Backup
	b, err := cluster.Get[velero.Backup](ctx, w.Cluster, velero.Backups, w.Velero.Namespace, w.Backup)
	switch {
	case apierrors.IsNotFound(err):
		w.found(w.stopsDrill(), subject, "a restore refuses until Velero has seen it in the bucket, which takes about a minute", "does not exist on the target yet")
	case err != nil:
		return w.unread(subject, "whether Velero knows the backup is not known", err)
	case b.Spec.StorageLocation != w.Velero.StorageLocation:
		w.found(w.stopsDrill(), subject, "Velero would restore another backup than the one that was verified", "is of location %s, and the plan's is %s",
			b.Spec.StorageLocation, w.Velero.StorageLocation)
	}
	return nil
}

// defaultValidation is how often a Velero server validates its locations unless it is told otherwise (--store-validation-frequency),
// and patience for how many of them nothing is thought of its silence.
const (
	defaultValidation = time.Minute
	patience          = 3
)

// server tells whether a Velero server works here. The location says it without asking for anything: the server writes down when
// it validated it last. Where it does not, its Deployment speaks.
func (w *work) server(ctx context.Context, l *location) error {
	every := defaultValidation
	if f := l.Spec.ValidationFrequency; f != nil {
		every = f.Duration
	}
	silent := "has never validated its location"
	if at := l.Status.LastValidationTime; at != nil {
		ago := w.Now.Sub(at.Time)
		if every > 0 && ago <= patience*every {
			return nil
		}
		silent = fmt.Sprintf("validated its location %s ago", ago.Round(time.Second))
	}
	d, err := cluster.Get[appsv1.Deployment](ctx, w.Cluster, cluster.Deployments, w.Velero.Namespace, "velero")
	switch {
	case err == nil && d.Status.AvailableReplicas > 0:
		w.found(run.Note, "Velero", "it is available all the same", "%s", silent)
	case err != nil && !apierrors.IsNotFound(err):
		return w.unread("Velero", "whether its server works is not known", err)
	default:
		w.found(w.stopsDrill(), "Velero", "nobody restores: the restore would wait until its budget is over", "%s, and no replica of Deployment %s/velero is available", silent, w.Velero.Namespace)
	}
	return nil
}
