package restore

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fallbackchain.io/fallback/shared/change"
)

// Neutralise turns an object of production into one that does no harm in the drill's namespace, or says why it is left out. What is
// kept is a list, not what is left out: a kind that nobody has thought about stays out. The input is not changed.
func Neutralise(o *unstructured.Unstructured, from, to string) (out *unstructured.Unstructured, leftOut string) {
	gk := o.GroupVersionKind().GroupKind()
	if o.GetNamespace() == "" {
		return nil, "cluster-scoped: a drill changes nothing outside its namespace"
	}
	if o.GetNamespace() != from {
		return nil, "in another namespace than the workload"
	}
	neutral, ok := kept[gk]
	if !ok {
		if why, known := reasons[gk]; known {
			return nil, why
		}
		return nil, otherReason(gk)
	}
	out = change.Bare(o)
	out.SetNamespace(to)
	out.SetOwnerReferences(nil)
	out.SetFinalizers(nil)
	stripMetadata(out)
	if why := neutral(out, from, to); why != "" {
		return nil, why
	}
	return out, ""
}

// kept are the kinds that are restored, each with what makes it harmless; its answer, when not empty, is why the object stays out.
var kept = map[schema.GroupKind]func(o *unstructured.Unstructured, from, to string) string{
	{Kind: "ConfigMap"}:      configMap,
	{Kind: "Secret"}:         secret,
	{Kind: "Service"}:        service,
	{Kind: "ServiceAccount"}: serviceAccount,
	{Kind: "LimitRange"}:     asIs,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:        asIs,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}: roleBinding,
	{Group: "apps", Kind: "StatefulSet"}:                      workload,
	{Group: "apps", Kind: "Deployment"}:                       workload,
	{Group: "batch", Kind: "CronJob"}:                         cronJob,
}

// reasons says of known kinds why they stay out.
var reasons = map[schema.GroupKind]string{
	{Kind: "Namespace"}:                                          "the drill has its own namespace",
	{Kind: "PersistentVolumeClaim"}:                              "claims are made from snapshots",
	{Kind: "Pod"}:                                                "pods come from their controllers",
	{Kind: "ReplicationController"}:                              "not a kind that drills restore",
	{Kind: "Endpoints"}:                                          "it names addresses of production",
	{Kind: "Event"}:                                              "a record, not configuration",
	{Kind: "ResourceQuota"}:                                      "a quota could refuse what production runs",
	{Group: "discovery.k8s.io", Kind: "EndpointSlice"}:           "it names addresses of production",
	{Group: "apps", Kind: "ReplicaSet"}:                          "it comes from its Deployment",
	{Group: "apps", Kind: "ControllerRevision"}:                  "it comes from its controller",
	{Group: "apps", Kind: "DaemonSet"}:                           "it would run on every node",
	{Group: "batch", Kind: "Job"}:                                "it would run again",
	{Group: "networking.k8s.io", Kind: "Ingress"}:                "it would take production's traffic",
	{Group: "extensions", Kind: "Ingress"}:                       "it would take production's traffic",
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:          "it could open the quarantine: policies add up",
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:      "it would change the replicas that are verified",
	{Group: "policy", Kind: "PodDisruptionBudget"}:               "it would hold up the draining of nodes for a drill",
	{Group: "coordination.k8s.io", Kind: "Lease"}:                "it is somebody's lock",
	{Group: "snapshot.storage.k8s.io", Kind: "VolumeSnapshot"}:   "it would take a snapshot",
	{Group: "keda.sh", Kind: "ScaledObject"}:                     "it would change the replicas that are verified",
	{Group: "autoscaling.k8s.io", Kind: "VerticalPodAutoscaler"}: "it would change the pods that are verified",
}

func otherReason(gk schema.GroupKind) string {
	switch {
	case strings.HasSuffix(gk.Group, "gateway.networking.k8s.io"):
		return "it would take production's traffic"
	case strings.Contains(gk.Group, "."):
		return "custom resource: its operator would act on it"
	}
	return "not a kind that drills restore"
}

// Annotations and labels by which something outside the drill would act on an object.
//   - ExternalDNS, before and since 0.22 (https://github.com/kubernetes-sigs/external-dns/blob/master/docs/annotations/annotations.md)
//   - IAM roles for service accounts of EKS, GKE and Azure
//   - GitOps and Helm: what they track they may prune or change back.
var actors = []string{
	"external-dns.alpha.kubernetes.io/", "external-dns.kubernetes.io/",
	"eks.amazonaws.com/", "iam.gke.io/", "azure.workload.identity/",
	"argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "meta.helm.sh/",
	"service.beta.kubernetes.io/", "service.kubernetes.io/", "cloud.google.com/", "alb.ingress.kubernetes.io/",
	"kubectl.kubernetes.io/last-applied-configuration",
}

func acted(key string) bool {
	for _, p := range actors {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

func stripMetadata(o *unstructured.Unstructured) {
	o.SetAnnotations(without(o.GetAnnotations()))
	o.SetLabels(without(o.GetLabels()))
}

func without(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		if !acted(k) {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func asIs(*unstructured.Unstructured, string, string) string { return "" }

// rootCA is the ConfigMap with the cluster's certificate, which Kubernetes puts into every namespace.
const rootCA = "kube-root-ca.crt"

func configMap(o *unstructured.Unstructured, _, _ string) string {
	if o.GetName() == rootCA {
		return "each namespace gets its own"
	}
	return ""
}

func secret(o *unstructured.Unstructured, _, _ string) string {
	switch t, _, _ := unstructured.NestedString(o.Object, "type"); t {
	case "kubernetes.io/service-account-token":
		return "a token of production's service account"
	case "helm.sh/release.v1":
		return "Helm's record of production's release"
	}
	return ""
}

// service keeps a Service inside: no load balancer, no port on nodes, no address outside, no address of production's own.
func service(o *unstructured.Unstructured, _, _ string) string {
	spec, _, _ := unstructured.NestedMap(o.Object, "spec")
	if spec == nil {
		return "it has no spec"
	}
	switch spec["type"] {
	case "ExternalName":
		return "it points outside the quarantine"
	case "LoadBalancer", "NodePort":
		spec["type"] = "ClusterIP"
	}
	if spec["clusterIP"] != "None" {
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	}
	for _, f := range []string{"loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges", "externalIPs", "externalTrafficPolicy",
		"allocateLoadBalancerNodePorts", "healthCheckNodePort"} {
		delete(spec, f)
	}
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if m, ok := p.(map[string]any); ok {
			delete(m, "nodePort")
		}
	}
	o.Object["spec"] = spec
	return ""
}

func serviceAccount(o *unstructured.Unstructured, _, _ string) string {
	delete(o.Object, "secrets")
	if o.GetName() == "default" {
		return "each namespace gets its own"
	}
	return ""
}

// roleBinding keeps subjects of the workload's namespace, as the drill's, and users and groups; service accounts of other
// namespaces get no rights in a drill.
func roleBinding(o *unstructured.Unstructured, from, to string) string {
	subjects, _, _ := unstructured.NestedSlice(o.Object, "subjects")
	var out []any
	for _, s := range subjects {
		m, ok := s.(map[string]any)
		if !ok {
			continue
		}
		if m["kind"] == "ServiceAccount" {
			if m["namespace"] != from {
				continue
			}
			m["namespace"] = to
		}
		if m["kind"] == "Group" && m["name"] == "system:serviceaccounts:"+from {
			m["name"] = "system:serviceaccounts:" + to
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return "it binds nobody of the drill"
	}
	o.Object["subjects"] = out
	return ""
}

func cronJob(o *unstructured.Unstructured, _, _ string) string {
	if why := podTemplate(o, "spec", "jobTemplate", "spec", "template"); why != "" {
		return why
	}
	if err := unstructured.SetNestedField(o.Object, true, "spec", "suspend"); err != nil {
		return "it has no spec"
	}
	return ""
}

func workload(o *unstructured.Unstructured, _, _ string) string {
	return podTemplate(o, "spec", "template")
}

// podTemplate removes what ties pods to a node or puts them before production's, and refuses pods that would leave the quarantine.
func podTemplate(o *unstructured.Unstructured, at ...string) string {
	template, ok, _ := unstructured.NestedMap(o.Object, at...)
	spec, has := template["spec"].(map[string]any)
	if !ok || !has {
		return "it has no pod template"
	}
	for _, f := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		if spec[f] == true {
			return "its pods use the node's own namespaces (" + f + "), which no NetworkPolicy holds"
		}
	}
	volumes, _ := spec["volumes"].([]any)
	for _, v := range volumes {
		if m, ok := v.(map[string]any); ok && m["hostPath"] != nil {
			return fmt.Sprintf("its pods mount a path of the node (volume %v)", m["name"])
		}
	}
	delete(spec, "nodeName")
	// A drill preempts nobody: it runs at the default priority.
	delete(spec, "priorityClassName")
	delete(spec, "priority")
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := spec[list].([]any)
		for _, c := range containers {
			if m, ok := c.(map[string]any); ok {
				unpublish(m)
			}
		}
	}
	if md, ok := template["metadata"].(map[string]any); ok {
		// Labels stay: selectors need them.
		notes, _ := md["annotations"].(map[string]any)
		for k := range notes {
			if acted(k) {
				delete(notes, k)
			}
		}
	}
	if err := unstructured.SetNestedMap(o.Object, template, at...); err != nil {
		return "it has no pod template"
	}
	return ""
}

// unpublish takes a container's ports off its node.
func unpublish(c map[string]any) {
	ports, _ := c["ports"].([]any)
	for _, p := range ports {
		if m, ok := p.(map[string]any); ok {
			delete(m, "hostPort")
			delete(m, "hostIP")
		}
	}
}
