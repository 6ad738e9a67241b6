package plancmd

import (
	"cmp"
	"slices"

	"fallbackchain.io/fallback/shared/plan/planinit"
	"fallbackchain.io/fallback/shared/velero"
)

// veleroOf is the cluster's Velero: the namespace of its default location in S3, with those beside it and the Schedules whose backups
// hold the workload's namespace; nil when there is none.
func veleroOf(r reader, workload string) *planinit.Velero {
	locations := list[velero.BackupStorageLocation](r, velero.BackupStorageLocations, "")
	locations = slices.DeleteFunc(locations, func(l velero.BackupStorageLocation) bool {
		return l.Spec.Provider != "aws" && l.Spec.Provider != "velero.io/aws"
	})
	if len(locations) == 0 {
		return nil
	}
	slices.SortFunc(locations, func(a, b velero.BackupStorageLocation) int {
		if a.Spec.Default != b.Spec.Default {
			if a.Spec.Default {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	v := &planinit.Velero{Namespace: locations[0].Namespace}
	for _, l := range locations {
		if l.Namespace == v.Namespace {
			v.Locations = append(v.Locations, planinit.BackupLocation{Name: l.Name, Bucket: l.Spec.ObjectStorage.Bucket,
				Prefix: l.Spec.ObjectStorage.Prefix, Region: l.Spec.Config["region"], Endpoint: l.Spec.Config["s3Url"]})
		}
	}
	for _, s := range list[velero.Schedule](r, velero.Schedules, v.Namespace) {
		in, out := s.Spec.Template.IncludedNamespaces, s.Spec.Template.ExcludedNamespaces
		all := len(in) == 0 || slices.Contains(in, "*")
		if (all || slices.Contains(in, workload)) && !slices.Contains(out, workload) {
			v.Schedules = append(v.Schedules, s.Name)
		}
	}
	return v
}
