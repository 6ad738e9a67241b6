package backup

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/run"
)

// Bundle is the contents as an inventory: what a capture of the namespace would have taken in, stripped of what the server set, with
// the snapshots that the claims can be restored from. Volumes stay out, as in a capture: they belong to the cluster. Findings say
// what is not in it and why; the bundle is nil when it would be none.
func (c *Contents) Bundle(namespace, statefulSet string) (*inventory.Bundle, []run.Finding) {
	var findings []run.Finding
	subject := keyOf(c.Name, kindContents)
	var objects []*unstructured.Unstructured
	found := false
	for _, o := range c.Objects {
		gk := o.GroupVersionKind().GroupKind()
		switch {
		case o.GetNamespace() == "" && gk == schema.GroupKind{Kind: "PersistentVolume"}:
			continue
		case o.GetNamespace() == "":
			if o.GetDeletionTimestamp() != nil {
				findings = append(findings, run.Finding{Severity: run.Warning, Subject: subject, Problem: gk.String() + " " + o.GetName() + " was being deleted when the backup was taken",
					Means: "what was left of it is restored"})
			}
		case o.GetNamespace() != namespace, skippedKind(gk), !inventory.Wanted(o, statefulSet):
			continue
		}
		found = found || (gk == schema.GroupKind{Group: "apps", Kind: "StatefulSet"} && o.GetNamespace() == namespace && o.GetName() == statefulSet)
		o = o.DeepCopy()
		inventory.Strip(o)
		objects = append(objects, o)
	}
	objects = withoutUnused(objects)
	if !found {
		return nil, append(findings, run.Finding{Severity: run.Stop, Subject: subject, Problem: "does not hold the StatefulSet " + namespace + "/" + statefulSet,
			Means: "the workload would not come back"})
	}
	m := inventory.Manifest{Namespace: namespace, StatefulSet: statefulSet, ClusterUID: c.ClusterUID, KubernetesVersion: c.KubernetesVersion, CapturedAt: c.At()}
	m.Snapshots, findings = c.snapshots(findings)
	b, err := inventory.Of(m, c.Listing, objects)
	if err != nil {
		return nil, append(findings, run.Finding{Severity: run.Stop, Subject: subject, Problem: strings.Join(strings.Fields(err.Error()), " "), Means: "it is no inventory"})
	}
	return b, findings
}

// withoutUnused drops definitions of custom resources of which no object is left.
func withoutUnused(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	left := map[schema.GroupKind]bool{}
	for _, o := range objects {
		left[o.GroupVersionKind().GroupKind()] = true
	}
	return slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
		if o.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}) {
			return false
		}
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
		return !left[schema.GroupKind{Group: group, Kind: kind}]
	})
}

// skippedKind tells whether a capture leaves the kind's resource out. The tarball's paths have resources, its objects only kinds.
func skippedKind(gk schema.GroupKind) bool {
	resource := strings.ToLower(gk.Kind)
	switch {
	case gk.Kind == "Endpoints":
	case strings.HasSuffix(resource, "y"):
		resource = strings.TrimSuffix(resource, "y") + "ies"
	case strings.HasSuffix(resource, "s"):
		resource += "es"
	default:
		resource += "s"
	}
	return !inventory.Captured(schema.GroupResource{Group: gk.Group, Resource: resource})
}

// snapshots of the claims that can be restored from one by the storage system itself; of several the newest.
func (c *Contents) snapshots(findings []run.Finding) ([]inventory.Snapshot, []run.Finding) {
	out := []inventory.Snapshot{}
	for _, v := range c.Volumes {
		if v.Claim == "" || v.Method != MethodCSISnapshot {
			if v.Claim != "" {
				findings = append(findings, run.Finding{Severity: run.Note, Subject: keyOf(c.Name, kindVolumeInfo), Problem: "claim " + v.Namespace + "/" + v.Claim + " was kept by " + v.Method,
					Means: "only Velero brings its data back: a tier that works without Velero has no snapshot of it"})
			}
			continue
		}
		s := inventory.Snapshot{Claim: v.Claim, Driver: v.Driver, Handle: v.Handle, Size: v.Size, TakenAt: c.takenAt(v.Claim)}
		if i := slices.IndexFunc(out, func(have inventory.Snapshot) bool { return have.Claim == s.Claim }); i >= 0 {
			if s.TakenAt.After(out[i].TakenAt) {
				out[i] = s
			}
			continue
		}
		out = append(out, s)
	}
	return out, findings
}

func (c *Contents) takenAt(claim string) time.Time {
	if t := c.taken[claim]; !t.IsZero() {
		return t
	}
	return c.At()
}
