package inventory

import (
	"cmp"
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// serverMetadata are the fields of metadata that the server sets, or that are only true of the one object that was read
// (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/). Finalizers belong to controllers,
// which set their own again; owner references hold UIDs that do not exist after a restore, and the garbage collector
// deletes an object whose owner does not exist.
var serverMetadata = []string{"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
	"deletionGracePeriodSeconds", "selfLink", "managedFields", "ownerReferences", "finalizers", "generateName"}

// serverAnnotations are written by controllers about the one object that was read
// (https://kubernetes.io/docs/reference/labels-annotations-taints/). last-applied-configuration is kubectl's copy of the
// object: it would only double it, and for a Secret its data.
var serverAnnotations = []string{
	"kubectl.kubernetes.io/last-applied-configuration",
	"deployment.kubernetes.io/revision",
	"pv.kubernetes.io/bind-completed",
	"pv.kubernetes.io/bound-by-controller",
	"volume.kubernetes.io/selected-node",
	"volume.kubernetes.io/storage-provisioner",
	"volume.beta.kubernetes.io/storage-provisioner",
	"volume.kubernetes.io/storage-resizer",
}

// Marks of objects that a run of this program made or applied.
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "fallback-chain"
	runLabel       = "fallbackchain.io/run"
	planLabel      = "fallbackchain.io/plan"
)

// Strip removes from an object what the server set, in place, so that it can be created anew in any cluster.
func Strip(o *unstructured.Unstructured) {
	fields := o.GetManagedFields()
	for _, f := range serverMetadata {
		unstructured.RemoveNestedField(o.Object, "metadata", f)
	}
	for _, a := range serverAnnotations {
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations", a)
	}
	if o.GetLabels()[managedByLabel] == managedBy {
		unstructured.RemoveNestedField(o.Object, "metadata", "labels", managedByLabel)
	}
	for _, l := range []string{runLabel, planLabel} {
		unstructured.RemoveNestedField(o.Object, "metadata", "labels", l)
	}
	removeEmpty(o.Object, "metadata", "annotations")
	removeEmpty(o.Object, "metadata", "labels")
	delete(o.Object, "status")

	switch o.GroupVersionKind().GroupKind().String() {
	case "Namespace":
		unstructured.RemoveNestedField(o.Object, "spec", "finalizers")
		unstructured.RemoveNestedField(o.Object, "metadata", "labels", "kubernetes.io/metadata.name")
		removeEmpty(o.Object, "metadata", "labels")
		removeEmpty(o.Object, "spec")
	case "Service":
		stripService(o, fields)
	case "PersistentVolumeClaim":
		for _, f := range []string{"volumeName", "dataSource", "dataSourceRef"} {
			unstructured.RemoveNestedField(o.Object, "spec", f)
		}
	case "ServiceAccount":
		// Token secrets of before 1.24; they are not in the bundle, and the server would not make them again.
		unstructured.RemoveNestedField(o.Object, "secrets")
	case "Job.batch":
		stripJob(o)
	}
	stripTemplates(o)
}

// stripService removes the addresses the server chose. "None" (a headless Service) and node ports that somebody asked for
// are the user's.
func stripService(o *unstructured.Unstructured, fields []metav1.ManagedFieldsEntry) {
	if ip, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP"); ip != "None" {
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIP")
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIPs")
	}
	if policy, _, _ := unstructured.NestedString(o.Object, "spec", "ipFamilyPolicy"); policy == "SingleStack" {
		unstructured.RemoveNestedField(o.Object, "spec", "ipFamilyPolicy")
	}
	for _, f := range []string{"ipFamilies", "healthCheckNodePort"} {
		unstructured.RemoveNestedField(o.Object, "spec", f)
	}
	if len(fields) == 0 {
		return // it does not come from a server: its node ports are whoever's wrote it
	}
	spec, _ := o.Object["spec"].(map[string]any)
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if m, ok := p.(map[string]any); ok && !asked(m, fields) {
			delete(m, "nodePort")
		}
	}
}

// asked tells whether somebody set the port's nodePort: the API server's own choice is in no one's managed fields
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).
func asked(port map[string]any, fields []metav1.ManagedFieldsEntry) bool {
	for _, f := range fields {
		var owned struct {
			Spec struct {
				Ports map[string]map[string]any `json:"f:ports"`
			} `json:"f:spec"`
		}
		if f.FieldsV1 == nil || json.Unmarshal(f.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		for k, set := range owned.Spec.Ports {
			var key struct {
				Port     int64  `json:"port"`
				Protocol string `json:"protocol"`
			}
			if _, has := set["f:nodePort"]; !has || json.Unmarshal([]byte(strings.TrimPrefix(k, "k:")), &key) != nil {
				continue
			}
			protocol, _ := port["protocol"].(string)
			if key.Port == port["port"] && key.Protocol == cmp.Or(protocol, "TCP") {
				return true
			}
		}
	}
	return false
}

// stripJob removes the selector and labels that the server generates from the Job's UID unless manualSelector is set
// (https://kubernetes.io/docs/concepts/workloads/controllers/job/#specifying-your-own-pod-selector).
func stripJob(o *unstructured.Unstructured) {
	if manual, _, _ := unstructured.NestedBool(o.Object, "spec", "manualSelector"); manual {
		return
	}
	unstructured.RemoveNestedField(o.Object, "spec", "selector")
	for _, l := range []string{"controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"} {
		unstructured.RemoveNestedField(o.Object, "spec", "template", "metadata", "labels", l)
		unstructured.RemoveNestedField(o.Object, "metadata", "labels", l)
	}
	removeEmpty(o.Object, "metadata", "labels")
	removeEmpty(o.Object, "spec", "template", "metadata", "labels")
}

// stripTemplates removes the empty creationTimestamp and status that the server writes into embedded objects.
func stripTemplates(o *unstructured.Unstructured) {
	spec, _ := o.Object["spec"].(map[string]any)
	for _, path := range [][]string{{"template"}, {"jobTemplate"}, {"jobTemplate", "spec", "template"}} {
		if v, ok, _ := unstructured.NestedFieldNoCopy(spec, append(path, "metadata", "creationTimestamp")...); ok && v == nil {
			unstructured.RemoveNestedField(spec, append(path, "metadata", "creationTimestamp")...)
		}
	}
	claims, _ := spec["volumeClaimTemplates"].([]any)
	for _, c := range claims {
		if m, ok := c.(map[string]any); ok {
			delete(m, "status")
			unstructured.RemoveNestedField(m, "metadata", "creationTimestamp")
		}
	}
}

func removeEmpty(o map[string]any, path ...string) {
	if m, ok, _ := unstructured.NestedMap(o, path...); ok && len(m) == 0 {
		unstructured.RemoveNestedField(o, path...)
	}
}
