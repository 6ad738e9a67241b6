package backup

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// metadataLimit bounds velero-backup.json, an object of Kubernetes.
const metadataLimit = 4 << 20

// Labels and annotations that Velero puts on a Backup
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/apis/velero/v1/labels_annotations.go).
const (
	labelSchedule     = "velero.io/schedule-name"
	annotationVersion = "velero.io/source-cluster-k8s-gitversion"
)

// PhaseCompleted is the only phase of a backup that has everything
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/apis/velero/v1/backup_types.go, BackupPhase).
const PhaseCompleted = "Completed"

// document of velero-backup.json, as far as it matters here.
type backupDocument struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		IncludedNamespaces []string `json:"includedNamespaces"`
		ExcludedNamespaces []string `json:"excludedNamespaces"`
	} `json:"spec"`
	Status struct {
		FormatVersion       string     `json:"formatVersion"`
		Phase               string     `json:"phase"`
		Expiration          *time.Time `json:"expiration"`
		StartTimestamp      *time.Time `json:"startTimestamp"`
		CompletionTimestamp *time.Time `json:"completionTimestamp"`
		FailureReason       string     `json:"failureReason"`
		ValidationErrors    []string   `json:"validationErrors"`
		Warnings            int        `json:"warnings"`
		Errors              int        `json:"errors"`
		Progress            *struct {
			TotalItems    int `json:"totalItems"`
			ItemsBackedUp int `json:"itemsBackedUp"`
		} `json:"progress"`
		BackupItemOperationsFailed int `json:"backupItemOperationsFailed"`
	} `json:"status"`
}

// parseMetadata reads velero-backup.json.
func parseMetadata(r io.Reader) (*backupDocument, error) {
	var d backupDocument
	if err := document(r, metadataLimit, &d); err != nil {
		return nil, err
	}
	if d.Kind != "Backup" || !strings.HasPrefix(d.APIVersion, "velero.io/") {
		return nil, fmt.Errorf("is %q of %q, expected a Backup of velero.io/v1", d.Kind, d.APIVersion)
	}
	return &d, nil
}

// summary is what is told of the backup; name is that of its directory.
func (d *backupDocument) summary(name string) Summary {
	s := Summary{Name: name, Phase: d.Status.Phase, StartedAt: d.Status.StartTimestamp, CompletedAt: d.Status.CompletionTimestamp,
		Expires: d.Status.Expiration, Schedule: d.Metadata.Labels[labelSchedule], Namespaces: d.Spec.IncludedNamespaces,
		KubernetesVersion: d.Metadata.Annotations[annotationVersion], VeleroFormat: d.Status.FormatVersion,
		ClusterUID: cmp.Or(d.Metadata.Labels[LabelCluster], d.Metadata.Annotations[LabelCluster]),
		Errors:     d.Status.Errors, Warnings: d.Status.Warnings}
	if d.Status.Progress != nil {
		s.Items = d.Status.Progress.ItemsBackedUp
	}
	return s
}

// At is the time that the backup's content is of: its objects and snapshots were taken after it began, so that its age is counted
// from there.
func (s Summary) At() time.Time {
	for _, t := range []*time.Time{s.StartedAt, s.CompletedAt} {
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}

// includes tells whether a backup takes in a namespace. "*" or no list is every namespace; Velero 1.18 knows the patterns *, ? and [...]
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/util/wildcard/expand.go).
func includes(included, excluded []string, namespace string) bool {
	matches := func(pattern string) bool {
		ok, err := path.Match(pattern, namespace)
		return pattern == namespace || (ok && err == nil)
	}
	if slices.ContainsFunc(excluded, matches) {
		return false
	}
	return len(included) == 0 || slices.ContainsFunc(included, matches)
}
