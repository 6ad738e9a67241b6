// Package quarantine holds what isolates a namespace: the NetworkPolicies that close it, the judgement whether the union of all
// policies opens anything more, and the probe that tests enforcement from inside. It is pure: nothing here asks a cluster.
package quarantine

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fallbackchain.io/fallback/shared/plan"
)

// Where DNS is answered. Cluster DNS runs as pods with this label in kube-system
// (https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/); NodeLocal DNSCache runs on the host network under
// a link-local address that no pod selector matches (https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/).
const (
	dnsNamespace     = metav1.NamespaceSystem
	dnsLabel         = "k8s-app"
	dnsLabelValue    = "kube-dns"
	nodeLocalDNS     = "169.254.20.10/32"
	dnsPort          = 53
	namespaceNameKey = corev1.LabelMetadataName
)

// Prefix begins the names of a run's policies; the run ID follows.
const prefix = "quarantine-"

// PolicyPrefix is how the names of a run's own policies begin.
func PolicyPrefix(runID string) string { return prefix + runID + "-" }

// Policies are the NetworkPolicies that close a namespace, in the order in which they are made: first everything is denied in
// both directions, then traffic inside the namespace, DNS and the plan's peers are allowed. Peers without a valid CIDR are
// an error of the plan and were refused before.
func Policies(namespace, runID string, peers []plan.Peer) []networkingv1.NetworkPolicy {
	make := func(name string, in []networkingv1.NetworkPolicyIngressRule, out []networkingv1.NetworkPolicyEgressRule) networkingv1.NetworkPolicy {
		p := networkingv1.NetworkPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: PolicyPrefix(runID) + name},
			Spec:       networkingv1.NetworkPolicySpec{Ingress: in, Egress: out},
		}
		if in != nil || out == nil {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
		}
		if out != nil || in == nil {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
		return p
	}
	inside := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	all := []networkingv1.NetworkPolicy{
		make("deny", nil, nil),
		make("inside", []networkingv1.NetworkPolicyIngressRule{{From: inside}}, []networkingv1.NetworkPolicyEgressRule{{To: inside}}),
		make("dns", nil, []networkingv1.NetworkPolicyEgressRule{{
			Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, dnsPort), port(corev1.ProtocolTCP, dnsPort)},
			To: []networkingv1.NetworkPolicyPeer{
				{
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{namespaceNameKey: dnsNamespace}},
					PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{dnsLabel: dnsLabelValue}},
				},
				{IPBlock: &networkingv1.IPBlock{CIDR: nodeLocalDNS}},
			},
		}}),
	}
	if len(peers) == 0 {
		return all
	}
	var in []networkingv1.NetworkPolicyIngressRule
	var out []networkingv1.NetworkPolicyEgressRule
	for _, p := range peers {
		block := []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: canonical(p.CIDR)}}}
		var ports []networkingv1.NetworkPolicyPort
		for _, n := range p.Ports {
			ports = append(ports, port(corev1.ProtocolTCP, n))
		}
		in = append(in, networkingv1.NetworkPolicyIngressRule{From: block, Ports: ports})
		out = append(out, networkingv1.NetworkPolicyEgressRule{To: block, Ports: ports})
	}
	return append(all, make("peers", in, out))
}

func port(proto corev1.Protocol, n int) networkingv1.NetworkPolicyPort {
	v := intstr.FromInt32(int32(n)) //nolint:gosec // the plan's ports were checked to be 1 to 65535
	return networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &v}
}

// canonical masks a CIDR's host bits: newer API servers refuse 10.0.0.1/8.
func canonical(cidr string) string {
	if p, err := netip.ParsePrefix(cidr); err == nil {
		return p.Masked().String()
	}
	return cidr
}

// Names of policies, sorted.
func Names(ps []networkingv1.NetworkPolicy) []string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}
