package controlplane

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fallbackchain.io/fallback/shared/inventory"
	"fallbackchain.io/fallback/shared/mergepatch"
	"fallbackchain.io/fallback/shared/plan"
)

// Patch is the JSON merge patch (RFC 7386) that makes what exists what the inventory holds: its content, lists as a whole, and
// null for what the inventory does not have. Server-side apply would leave alone what others have added, such as a node
// selector that no node has. Metadata and status are not content. An empty patch means that both are the same.
func Patch(have, want *unstructured.Unstructured) map[string]any {
	have, want = have.DeepCopy(), want.DeepCopy()
	inventory.Strip(have)
	inventory.Strip(want)
	for _, o := range []*unstructured.Unstructured{have, want} {
		for _, f := range []string{"apiVersion", "kind", "metadata", "status"} {
			delete(o.Object, f)
		}
	}
	return mergepatch.Make(have.Object, want.Object, equality.Semantic.DeepEqual)
}

// Changed lists the fields, as paths, in which an object that exists differs from what it would be. Status and what the server
// sets do not count.
func Changed(have, would *unstructured.Unstructured) []string {
	return differ("", have.Object, would.Object)
}

// serverSet are paths that every write changes.
var serverSet = []string{"status", "metadata.managedFields", "metadata.resourceVersion", "metadata.generation"}

func differ(at string, a, b any) []string {
	if slices.Contains(serverSet, at) || equality.Semantic.DeepEqual(a, b) {
		return nil
	}
	am, aIsMap := a.(map[string]any)
	bm, bIsMap := b.(map[string]any)
	if aIsMap && bIsMap {
		keys := slices.Collect(maps.Keys(am))
		for k := range bm {
			if _, ok := am[k]; !ok {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		var out []string
		for _, k := range keys {
			out = append(out, differ(strings.TrimPrefix(at+"."+k, "."), am[k], bm[k])...)
		}
		return out
	}
	al, aIsList := a.([]any)
	bl, bIsList := b.([]any)
	if aIsList && bIsList && len(al) == len(bl) {
		var out []string
		for i := range al {
			out = append(out, differ(fmt.Sprintf("%s[%d]", at, i), al[i], bl[i])...)
		}
		return out
	}
	return []string{at}
}

// stops tells whether a difference is in what can keep the workload from running: the StatefulSet's pods, claims, number and
// placement, the CSI controller's pods and number, and the class or driver behind the claims.
func stops(o *unstructured.Unstructured, fields []string, w plan.Workload, controller *plan.DeploymentRef) []string {
	var prefixes []string
	switch o.GroupVersionKind().GroupKind().String() {
	case "StatefulSet.apps":
		if o.GetName() == w.StatefulSet {
			prefixes = []string{"spec.template.spec", "spec.replicas", "spec.serviceName", "spec.selector", "spec.volumeClaimTemplates", immutable}
		}
	case "Deployment.apps":
		if controller != nil && o.GetNamespace() == controller.Namespace && o.GetName() == controller.Name {
			prefixes = []string{"spec.template.spec", "spec.replicas", immutable}
		}
	case "StorageClass.storage.k8s.io":
		prefixes = []string{"provisioner", "parameters", "volumeBindingMode", "allowedTopologies", immutable}
	case "CSIDriver.storage.k8s.io":
		prefixes = []string{"spec", immutable}
	}
	return slices.DeleteFunc(slices.Clone(fields), func(f string) bool {
		return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(f, p) })
	})
}

// immutable begins the "field" of an object whose content the API server refuses to change at all.
const immutable = "an immutable field"
