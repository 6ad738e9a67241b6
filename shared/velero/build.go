package velero

import (
	"path"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// RestoreName is the name of the Restore of a drill, and of its resource modifiers. It derives from the run ID and from nothing else, so
// that a second call finds the first. It equals the drill's namespace, whose length fits a label's value, as LabelRestore needs.
func RestoreName(runID string) string { return "drill-" + runID }

func place(bucket, prefix string) string {
	return "s3://" + path.Join(bucket, strings.Trim(prefix, "/"))
}

// SameLocation tells whether two places are the same but for slashes at their ends.
func SameLocation(a, b string) bool {
	return strings.TrimRight(a, "/") == strings.TrimRight(b, "/")
}

// RestoreOptions say what a Restore brings back.
type RestoreOptions struct {
	Name, Namespace string
	// Backup is a Backup of the same namespace.
	Backup string
	// From is the namespace that is restored, To the one it is restored into.
	From, To string
	// Resources are the only ones that are restored, as "statefulsets.apps".
	Resources []string
	// Modifiers is a ConfigMap of the same namespace.
	Modifiers string
	// OperationTimeout bounds data movement; Velero's own is four hours.
	OperationTimeout time.Duration
}

// NewRestore builds a Restore: volumes from their snapshots, nothing of what exists is changed, no status, no node ports, and of
// cluster-scoped objects only what a restored object needs.
func NewRestore(o RestoreOptions) *unstructured.Unstructured {
	spec := map[string]any{
		"backupName":             o.Backup,
		"includedNamespaces":     []any{o.From},
		"namespaceMapping":       map[string]any{o.From: o.To},
		"includedResources":      list(o.Resources),
		"restorePVs":             true,
		"preserveNodePorts":      false,
		"existingResourcePolicy": "none",
		"itemOperationTimeout":   o.OperationTimeout.String(),
	}
	if o.Modifiers != "" {
		spec["resourceModifier"] = map[string]any{"kind": "ConfigMap", "name": o.Modifiers}
	}
	return object("Restore", o.Namespace, o.Name, nil, spec)
}

// BackupOptions say what a Backup holds.
type BackupOptions struct {
	Name, Namespace string
	Labels          map[string]string
	// StorageLocation is a BackupStorageLocation of the same namespace.
	StorageLocation string
	// Namespaces that are backed up.
	Namespaces []string
	// TTL is how long it is kept; 0 is Velero's own (30 days).
	TTL time.Duration
	// MoveData copies the snapshots into the bucket (needs node-agent).
	MoveData bool
}

// NewBackup builds a Backup of whole namespaces with their volumes.
func NewBackup(o BackupOptions) *unstructured.Unstructured {
	spec := map[string]any{
		"storageLocation":    o.StorageLocation,
		"includedNamespaces": list(o.Namespaces),
		"snapshotVolumes":    true,
	}
	if o.TTL > 0 {
		spec["ttl"] = o.TTL.String()
	}
	if o.MoveData {
		spec["snapshotMoveData"] = true
	}
	return object("Backup", o.Namespace, o.Name, o.Labels, spec)
}

func object(kind, namespace, name string, labels map[string]string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": APIVersion, "kind": kind, "spec": spec}}
	u.SetNamespace(namespace)
	u.SetName(name)
	if len(labels) > 0 {
		u.SetLabels(labels)
	}
	return u
}

func list(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}
