package controlplane

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/functions/restore"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/shared/step"
)

// scoped leaves the objects that this run may bring back, in the namespace it works on. In a recover those are all of the
// inventory but CustomResourceDefinitions. In a drill they are exactly those that the restore brought, made as harmless as it
// made them, so that reconciling undoes nothing of the quarantine.
func scoped(s *step.Session, objects []*unstructured.Unstructured) (kept []*unstructured.Unstructured, left []string) {
	from, to := s.Plan.Spec.Workload.Namespace, s.Target()
	for _, o := range objects {
		switch {
		case o.GroupVersionKind().GroupKind().String() == "CustomResourceDefinition.apiextensions.k8s.io":
			left = append(left, "CustomResourceDefinition "+o.GetName()+" is not brought back by a run")
		case s.Run.Mode != run.Drill:
			kept = append(kept, o)
		case isClaim(o) && o.GetNamespace() == from:
			c := o.DeepCopy()
			c.SetNamespace(to)
			kept = append(kept, c)
		default:
			// What a drill leaves out was reported by the restore.
			if neutral, why := restore.Neutralise(o, from, to); why == "" {
				kept = append(kept, neutral)
			}
		}
	}
	return kept, left
}

// isClaim tells a PersistentVolumeClaim.
func isClaim(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().GroupKind().String() == "PersistentVolumeClaim"
}

// afterClaims are the kinds that wait until the claims are there, so that the StatefulSet does not make empty ones.
func afterClaims(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().GroupKind().String() == "StatefulSet.apps"
}
