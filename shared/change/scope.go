package change

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/fault"
)

// Scope is where a run may change things. It is made once from the run's mode and checked for every single change, so that
// a drill cannot touch production whatever a step does.
type Scope struct {
	// Drill restricts the run to Namespace and to cluster-scoped objects that carry the run's label and name.
	Drill bool
	// Namespace is the only namespace in which namespaced objects may be changed (besides Extra).
	Namespace string
	// Run is the run's ID.
	Run string
	// Extra are further namespaces of a recover, such as the one of the CSI driver's controller. Ignored in a drill.
	Extra []string
	// Velero is the namespace in which a drill may make and delete its own Restore and its ConfigMap; empty: none.
	Velero string
	// Remade tells that the drill's namespace, which this run made, may have been made again by Velero, which gives it production's
	// labels: then it may be deleted without the run's label.
	Remade bool
	// RestoreUID is the UID of the drill's Restore: what Velero keeps of it in its own namespace carries it.
	RestoreUID string
}

// clusterScoped are the cluster-scoped resources that a recover may change. Nodes and CRDs are not among them.
var clusterScoped = []schema.GroupResource{
	{Resource: "namespaces"},
	{Resource: "persistentvolumes"},
	{Group: "storage.k8s.io", Resource: "volumeattachments"},
	{Group: "storage.k8s.io", Resource: "storageclasses"},
	{Group: "storage.k8s.io", Resource: "csidrivers"},
	{Group: "snapshot.storage.k8s.io", Resource: "volumesnapshotcontents"},
	{Group: "snapshot.storage.k8s.io", Resource: "volumesnapshotclasses"},
	{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
	{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"},
	{Group: "scheduling.k8s.io", Resource: "priorityclasses"},
}

// drillScoped are the cluster-scoped resources that a drill may create and delete, always under its own name and label.
var drillScoped = []schema.GroupResource{
	{Resource: "namespaces"},
	// A class of the drill's own, whose volumes go with their claims where production's class retains them.
	{Group: "storage.k8s.io", Resource: "storageclasses"},
	{Group: "snapshot.storage.k8s.io", Resource: "volumesnapshotcontents"},
}

// Allows tells whether an object may be changed. have are the labels it has (nil when it does not exist), want those it
// will have.
func (s Scope) Allows(r Ref, have, want map[string]string) error {
	op := "change " + r.String()
	code := fault.PermissionDenied
	if s.Drill {
		code = fault.ProductionTouched
	}
	if s.Drill && r.Namespace != "" && r.Namespace == s.Velero {
		return s.allowsVelero(r, have, want)
	}
	if r.Namespace != "" {
		if r.Namespace == s.Namespace || (!s.Drill && slices.Contains(s.Extra, r.Namespace)) {
			return nil
		}
		return fault.Newf(code, op, "this run may change namespace %s only", s.Namespace)
	}
	if !s.Drill {
		if r.GVR.Resource == "namespaces" && r.Name != s.Namespace && !slices.Contains(s.Extra, r.Name) {
			return fault.Newf(code, op, "this run may change namespace %s only", s.Namespace)
		}
		if slices.Contains(clusterScoped, r.GVR.GroupResource()) {
			return nil
		}
		return fault.Newf(code, op, "a run does not change cluster-scoped %s", r.GVR.Resource)
	}
	if s.Remade && r.GVR.GroupResource() == (schema.GroupResource{Resource: "namespaces"}) && r.Name == s.Namespace && have != nil && have[LabelRun] == "" {
		return nil
	}
	if !slices.Contains(drillScoped, r.GVR.GroupResource()) {
		return fault.Newf(code, op, "a drill does not change cluster-scoped %s", r.GVR.Resource)
	}
	if have != nil && have[LabelRun] != s.Run {
		return fault.Newf(code, op, "it is not this drill's: label %s is %q, expected %q", LabelRun, have[LabelRun], s.Run)
	}
	if want[LabelRun] != s.Run || !strings.Contains(r.Name, s.Run) {
		return fault.Newf(code, op, "a drill's objects carry the run ID %s in label and name", s.Run)
	}
	return nil
}
