package restore

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/change"
	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/mergepatch"
)

// resources are the kinds that Velero restores in a drill, as it names them: those of kept, and claims.
var resources = map[schema.GroupKind]string{
	{Kind: "ConfigMap"}:                                       "configmaps",
	{Kind: "Secret"}:                                          "secrets",
	{Kind: "Service"}:                                         "services",
	{Kind: "ServiceAccount"}:                                  "serviceaccounts",
	{Kind: "LimitRange"}:                                      "limitranges",
	{Kind: "PersistentVolumeClaim"}:                           "persistentvolumeclaims",
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:        "roles.rbac.authorization.k8s.io",
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}: "rolebindings.rbac.authorization.k8s.io",
	{Group: "apps", Kind: "StatefulSet"}:                      "statefulsets.apps",
	{Group: "apps", Kind: "Deployment"}:                       "deployments.apps",
	{Group: "batch", Kind: "CronJob"}:                         "cronjobs.batch",
}

// derived are kinds of a backup that come from others, or tell of the backup itself: that they are left out is not worth a word.
var derived = map[string]bool{
	"Namespace": true, "Pod": true, "ReplicaSet": true, "ControllerRevision": true, "Endpoints": true, "EndpointSlice": true, "Event": true,
	"PersistentVolume": true, "VolumeSnapshot": true, "VolumeSnapshotContent": true, "VolumeSnapshotClass": true, "DataUpload": true, "CustomResourceDefinition": true,
}

// neutralPatch is what Velero has to do to an object of the backup so that it does no harm in the drill. An object that is to stay out
// comes back all the same, for Velero cannot leave out single objects: emptied then, with the reason in leftOut.
func neutralPatch(o *unstructured.Unstructured, from, to string) (patch map[string]any, leftOut string, err error) {
	neutral, leftOut := Neutralise(o, from, to)
	if leftOut != "" {
		neutral = emptied(o)
	}
	patch = mergepatch.Make(comparable(o), comparable(neutral), reflect.DeepEqual)
	if o.GetKind() == "Secret" && (patch["data"] != nil || patch["stringData"] != nil) {
		return nil, "", fault.Newf(fault.Internal, "make "+title(o)+" harmless", "the patch would hold values of a Secret")
	}
	return patch, leftOut, nil
}

// comparable is an object without what Velero sets or drops itself: metadata of the server, namespace, owners
// (https://github.com/vmware-tanzu/velero/blob/v1.18.3/pkg/restore/restore.go, resetMetadata), and a Service's addresses
// (pkg/restore/actions/service_action.go).
func comparable(o *unstructured.Unstructured) map[string]any {
	c := change.Bare(o)
	for _, f := range []string{"namespace", "ownerReferences", "generateName"} {
		unstructured.RemoveNestedField(c.Object, "metadata", f)
	}
	if c.GetKind() == "Service" {
		if ip, _, _ := unstructured.NestedString(c.Object, "spec", "clusterIP"); ip != "None" {
			unstructured.RemoveNestedField(c.Object, "spec", "clusterIP")
			unstructured.RemoveNestedField(c.Object, "spec", "clusterIPs")
		}
	}
	return c.Object
}

// emptied makes an object that should have stayed out do nothing.
func emptied(o *unstructured.Unstructured) *unstructured.Unstructured {
	out := change.Bare(o)
	out.SetFinalizers(nil)
	stripMetadata(out)
	spec, _, _ := unstructured.NestedMap(out.Object, "spec")
	switch o.GetKind() {
	case "Secret":
		out.Object["type"] = "Opaque"
		delete(out.Object, "data")
		delete(out.Object, "stringData")
		dropKeys(out, "kubernetes.io/service-account.", "owner") // Helm finds its releases by the label owner
	case "Service":
		for _, f := range []string{"externalName", "selector", "externalIPs", "loadBalancerIP", "loadBalancerClass", "externalTrafficPolicy", "clusterIPs"} {
			delete(spec, f)
		}
		spec["type"], spec["clusterIP"] = "ClusterIP", "None"
		out.Object["spec"] = spec
	case "ServiceAccount":
		delete(out.Object, "secrets")
	case "RoleBinding":
		delete(out.Object, "subjects")
	case "StatefulSet", "Deployment":
		spec["replicas"] = int64(0)
		out.Object["spec"] = spec
		for _, f := range []string{"hostNetwork", "hostPID", "hostIPC"} {
			unstructured.RemoveNestedField(out.Object, "spec", "template", "spec", f)
		}
	case "CronJob":
		spec["suspend"] = true
		out.Object["spec"] = spec
	}
	return out
}

func dropKeys(o *unstructured.Unstructured, prefixes ...string) {
	drop := func(m map[string]string) map[string]string {
		for k := range m {
			for _, p := range prefixes {
				if strings.HasPrefix(k, p) {
					delete(m, k)
				}
			}
		}
		if len(m) == 0 {
			return nil
		}
		return m
	}
	o.SetAnnotations(drop(o.GetAnnotations()))
	o.SetLabels(drop(o.GetLabels()))
}

// harmful says what of a restored object is not as Neutralise makes it; empty when nothing is. It is asked of what is in the cluster: a
// Velero without resource modifiers, or with others, would restore production's objects as they were.
func harmful(o *unstructured.Unstructured, namespace string) string {
	neutral, why := Neutralise(o, namespace, namespace)
	if why != "" {
		switch o.GetKind() {
		case "ServiceAccount":
			return actedOn(o) // the namespace's default one, to which Velero adds what the backup's has
		case "StatefulSet", "Deployment":
			if n, ok, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); ok && n == 0 {
				return ""
			}
		case "CronJob":
			if off, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend"); off {
				return ""
			}
		}
		return why
	}
	was, is := comparable(o), comparable(neutral)
	for _, f := range []string{"labels", "annotations"} {
		delete(was["metadata"].(map[string]any), f)
		delete(is["metadata"].(map[string]any), f)
	}
	if p := mergepatch.Make(was, is, reflect.DeepEqual); len(p) > 0 {
		return "it still has what a drill must not have in " + strings.Join(fields(p), ", ")
	}
	return actedOn(o)
}

// fields are the paths of what a merge patch would change. Its values are told to nobody: a list is in it as a whole, and containers have
// passwords in their environment.
func fields(patch map[string]any) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(patch)) {
		inner, ok := patch[k].(map[string]any)
		if !ok || len(inner) == 0 {
			out = append(out, k)
			continue
		}
		for _, f := range fields(inner) {
			out = append(out, k+"."+f)
		}
	}
	return out
}

func actedOn(o *unstructured.Unstructured) string {
	for k := range o.GetAnnotations() {
		if acted(k) {
			return "it still has the annotation " + k
		}
	}
	return ""
}
