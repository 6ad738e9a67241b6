// Package rehearsal finds out what a restore would meet on its target before anything is created: kinds that the target does not serve,
// storage and snapshot classes, the driver, its Kubernetes version, volumes that do not reach its Region, Velero's own standing, objects
// that are there already, quotas. What only the API server knows (admission, quota, validation) it is asked by its own dry run
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run): nothing is stored.
package rehearsal

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/run"
)

// Input is a restore that has not begun.
type Input struct {
	Cluster *cluster.Client
	// Drill restores into a namespace of its own, by Velero; otherwise missing objects come back into the workload's.
	Drill bool
	// Evaluate restores nothing: what the objects would meet is said as for a recover, and also what a drill of the backup refuses.
	Evaluate bool
	// Run is the run's ID.
	Run string
	// Namespace is the workload's, Target the one that is restored into.
	Namespace, Target string
	// Spare is a namespace that always exists when the two do not: the API server can be asked there.
	Spare string
	// Backup is the backup's name, KubernetesVersion that of its cluster, Volumes its claims.
	Backup            string
	KubernetesVersion string
	Volumes           []run.BackupVolume
	// Required are the claims of the workload's StatefulSet: without their data there is nothing to restore.
	Required []string
	// PersistentVolumes of the backup, which tell where its volumes were.
	PersistentVolumes []*unstructured.Unstructured
	// Objects are what would be created, as it would be created, claims included.
	Objects []*unstructured.Unstructured
	// Velero is the plan's, Region the target cluster's; empty: the nodes' label tells.
	Velero plan.Velero
	Region string
	Now    time.Time
}

// Result is what was found.
type Result struct {
	Findings []run.Finding
	// Asked is how many objects the API server was asked about, AskedIn in which namespace.
	Asked   int
	AskedIn string
}

type work struct {
	Input
	Result
	// items are the objects of kinds that the target serves.
	items []item
	// targetExists: the namespace is there and not being deleted.
	targetExists bool
	// have are the objects that exist in the target, by identity.
	have map[string]bool
	// claimsKnown: the claims of the target are among them, or it has none because it does not exist.
	claimsKnown bool
	// forbidden are the resources that this user may not create.
	forbidden map[schema.GroupVersionResource]bool
}

// Rehearse looks at everything. An error is one that a later call may not meet (the API server does not answer); what may not be read is a
// finding.
func Rehearse(ctx context.Context, in Input) (Result, error) {
	w := &work{Input: in, have: map[string]bool{}, forbidden: map[schema.GroupVersionResource]bool{}}
	for _, look := range []func(context.Context) error{
		w.version, w.apis, w.collisions, w.data, w.classes, w.drivers, w.regions, w.priorities, w.quotas, w.velero, w.ask,
	} {
		if err := look(ctx); err != nil {
			return w.Result, err
		}
	}
	w.Findings = run.Pressing(w.Findings)
	return w.Result, nil
}

func (w *work) found(severity, subject, means, format string, args ...any) {
	w.Findings = append(w.Findings, run.Finding{Severity: severity, Subject: subject, Problem: fmt.Sprintf(format, args...), Means: means})
}

// stopsDrill is Stop where Velero restores, Warning where the run brings the objects back itself.
func (w *work) stopsDrill() string {
	if w.Drill {
		return run.Stop
	}
	return run.Warning
}

// unread is about what could not be looked at: an error when asking again may help, a finding otherwise.
func (w *work) unread(subject, means string, err error) error {
	f := fault.From(cluster.Fault("look at "+subject, err))
	if f.Class() == fault.Retry || f.Code == fault.Unauthorized {
		return f
	}
	w.found(run.Warning, subject, means, "could not be looked at: %s", run.Short(err.Error(), 200))
	return nil
}

// title names an object for people.
func title(o *unstructured.Unstructured) string { return o.GetKind() + " " + o.GetName() }

// identity is the same for every version of an object's kind.
func identity(o *unstructured.Unstructured) string {
	return o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
}

// inBackup tells whether a cluster-scoped object would be brought back as well. A drill brings back none.
func (w *work) inBackup(groupKind, name string) bool {
	for _, o := range w.Objects {
		if o.GetName() == name && o.GroupVersionKind().GroupKind().String() == groupKind {
			return true
		}
	}
	return false
}
