package quarantine

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// AdminGroups have policies of cluster administrators, which stand above NetworkPolicies and cannot be overridden by them
// (https://network-policy-api.sigs.k8s.io/api-overview/; on EKS the VPC CNI has its own group for the same kind).
var AdminGroups = map[string][]string{
	"policy.networking.k8s.io": {"AdminNetworkPolicy", "ClusterNetworkPolicy"},
	"networking.k8s.aws":       {"ClusterNetworkPolicy"},
}

// OtherGroups have policies of a network plugin's own, which add to NetworkPolicies and are not judged here.
var OtherGroups = map[string][]string{
	"cilium.io":             {"CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"},
	"crd.projectcalico.org": {"NetworkPolicy", "GlobalNetworkPolicy"},
	"projectcalico.org":     {"NetworkPolicy", "GlobalNetworkPolicy"},
	"networking.k8s.aws":    {"ApplicationNetworkPolicy"},
}

// AdminOpening tells what an administrator's policy lets through in a namespace with these labels, or "". A rule that accepts
// (Accept, or Allow in the older kind) above the baseline tier does; what its subject is, is judged, its peers are not.
func AdminOpening(p *unstructured.Unstructured, namespace map[string]string) string {
	if tier, _, _ := unstructured.NestedString(p.Object, "spec", "tier"); strings.EqualFold(tier, "Baseline") {
		return "" // below NetworkPolicies
	}
	if !subject(p, namespace) {
		return ""
	}
	for _, d := range []Direction{Ingress, Egress} {
		rules, _, err := unstructured.NestedSlice(p.Object, "spec", string(d))
		if err != nil {
			return fmt.Sprintf("%s %s cannot be read", p.GetKind(), p.GetName())
		}
		if slices.ContainsFunc(rules, accepts) {
			return fmt.Sprintf("%s %s accepts %s, which no NetworkPolicy can deny", p.GetKind(), p.GetName(), d)
		}
	}
	return ""
}

// accepts tells whether a rule lets traffic through; one whose action is not known does.
func accepts(rule any) bool {
	m, _ := rule.(map[string]any)
	action, _ := m["action"].(string)
	return !strings.EqualFold(action, "Deny") && !strings.EqualFold(action, "Pass")
}

// subject tells whether the policy is about pods of the namespace; one whose subject cannot be read is.
func subject(p *unstructured.Unstructured, namespace map[string]string) bool {
	for _, path := range [][]string{{"spec", "subject", "namespaces"}, {"spec", "subject", "pods", "namespaceSelector"}} {
		m, ok, err := unstructured.NestedMap(p.Object, path...)
		if err != nil || !ok {
			continue
		}
		var sel metav1.LabelSelector
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, &sel); err != nil {
			return true
		}
		s, err := metav1.LabelSelectorAsSelector(&sel)
		return err != nil || s.Matches(labels.Set(namespace))
	}
	return true
}
