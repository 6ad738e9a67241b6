package quarantine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fallbackchain.io/fallback/shared/plan"
)

// Direction of traffic, seen from the quarantined pods.
type Direction string

const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Opening is a rule that lets more through than the quarantine allows.
type Opening struct {
	Policy    string
	Direction Direction
	// What is reachable, e.g. "0.0.0.0/0 on every port".
	What string
}

func (o Opening) String() string {
	return fmt.Sprintf("NetworkPolicy %s opens %s: %s", o.Policy, o.Direction, o.What)
}

// Openings holds the union of all policies of a namespace against what the quarantine allows: traffic inside the namespace, DNS, and
// the peers. NetworkPolicies only add up, so every rule of every policy is judged by itself, with the semantics of
// https://kubernetes.io/docs/concepts/services-networking/network-policies/: a rule without peers is for everyone, one without
// ports for every port; a policy without policyTypes is for ingress, and for egress when it has egress rules; a podSelector
// alone means the policy's own namespace; selectors in one peer are joined by AND; an ipBlock is its cidr without its
// excepts. A policy counts even when its podSelector matches no pod now: pods come later. What cannot be judged opens.
func Openings(namespace string, policies []networkingv1.NetworkPolicy, peers []plan.Peer) []Opening {
	var out []Opening
	a := allowance{namespace: namespace, peers: peers}
	for _, p := range policies {
		for _, d := range Directions(&p) {
			for _, r := range rules(&p, d) {
				for _, what := range a.opens(r, d) {
					out = append(out, Opening{p.Name, d, what})
				}
			}
		}
	}
	return out
}

// Directions are those that a policy is about.
func Directions(p *networkingv1.NetworkPolicy) []Direction {
	if len(p.Spec.PolicyTypes) == 0 {
		if len(p.Spec.Egress) > 0 {
			return []Direction{Ingress, Egress}
		}
		return []Direction{Ingress}
	}
	var out []Direction
	for _, t := range p.Spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			out = append(out, Ingress)
		case networkingv1.PolicyTypeEgress:
			out = append(out, Egress)
		}
	}
	return out
}

// Isolates lists the directions in which the policies isolate every pod of their namespace, present and future: a pod is isolated
// once any policy of that direction selects it.
func Isolates(policies []networkingv1.NetworkPolicy) []Direction {
	var out []Direction
	for _, p := range policies {
		if len(p.Spec.PodSelector.MatchLabels)+len(p.Spec.PodSelector.MatchExpressions) > 0 {
			continue
		}
		for _, d := range Directions(&p) {
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	slices.Sort(out)
	return out
}

// rule is one ingress or egress rule.
type rule struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

func rules(p *networkingv1.NetworkPolicy, d Direction) []rule {
	var out []rule
	if d == Ingress {
		for _, r := range p.Spec.Ingress {
			out = append(out, rule{r.From, r.Ports})
		}
		return out
	}
	for _, r := range p.Spec.Egress {
		out = append(out, rule{r.To, r.Ports})
	}
	return out
}

// allowance is what the quarantine lets through.
type allowance struct {
	namespace string
	peers     []plan.Peer
}

func (a allowance) opens(r rule, d Direction) []string {
	ranges := portRanges(r.ports)
	if len(r.peers) == 0 {
		return []string{"everyone on " + describe(ranges)}
	}
	var out []string
	for _, p := range r.peers {
		for _, pr := range ranges {
			if what := a.peerOpens(p, pr, d); what != "" {
				out = append(out, what+" on "+pr.String())
			}
		}
	}
	return out
}

// peerOpens names what a peer adds on one range of ports, or "".
func (a allowance) peerOpens(p networkingv1.NetworkPolicyPeer, pr portRange, d Direction) string {
	switch {
	case p.IPBlock != nil:
		return a.blockOpens(p.IPBlock, pr, d)
	case p.NamespaceSelector == nil && p.PodSelector == nil:
		return "a peer that selects nothing known"
	case p.NamespaceSelector == nil || demands(p.NamespaceSelector, namespaceNameKey, a.namespace):
		return "" // inside
	case d == Egress && demands(p.NamespaceSelector, namespaceNameKey, dnsNamespace) && p.PodSelector != nil &&
		demands(p.PodSelector, dnsLabel, dnsLabelValue) && pr.isDNS():
		return ""
	}
	return "pods of namespaces " + selector(p.NamespaceSelector)
}

// demands tells whether a selector matches only objects whose label key has this value.
func demands(s *metav1.LabelSelector, key, value string) bool {
	if s.MatchLabels[key] == value {
		return true
	}
	return slices.ContainsFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == key && r.Operator == metav1.LabelSelectorOpIn && len(r.Values) == 1 && r.Values[0] == value
	})
}

func selector(s *metav1.LabelSelector) string {
	if t := metav1.FormatLabelSelector(s); t != "" && t != "<none>" {
		return "with " + t
	}
	return "of every name"
}

// blockOpens names the addresses of a block that the quarantine does not allow on the ports.
func (a allowance) blockOpens(b *networkingv1.IPBlock, pr portRange, d Direction) string {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return fmt.Sprintf("ipBlock %q, which cannot be read", b.CIDR)
	}
	left := []netip.Prefix{cidr.Masked()}
	for _, e := range b.Except {
		x, err := netip.ParsePrefix(e)
		if err != nil {
			return fmt.Sprintf("ipBlock %s except %q, which cannot be read", b.CIDR, e)
		}
		left = subtract(left, x.Masked())
	}
	for _, p := range a.peers {
		if x, err := netip.ParsePrefix(p.CIDR); err == nil && pr.within(p.Ports) {
			left = subtract(left, x.Masked())
		}
	}
	if d == Egress && pr.isDNS() {
		left = subtract(left, netip.MustParsePrefix(nodeLocalDNS))
	}
	if len(left) == 0 {
		return ""
	}
	if len(b.Except) > 0 {
		return fmt.Sprintf("%s except %s", b.CIDR, strings.Join(b.Except, ", "))
	}
	return b.CIDR
}

// subtract removes an address range from others, by splitting them.
func subtract(from []netip.Prefix, x netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range from {
		switch {
		case !p.Overlaps(x):
			out = append(out, p)
		case x.Bits() <= p.Bits(): // x contains p
		default:
			low, high := halves(p)
			out = append(out, subtract([]netip.Prefix{low, high}, x)...)
		}
	}
	return out
}

// halves splits a prefix that is not a single address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	second, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), bits), netip.PrefixFrom(second, bits)
}

// HostPods are the pods that no NetworkPolicy holds: they share their node's network
// (https://kubernetes.io/docs/concepts/services-networking/network-policies/#networkpolicy-and-hostnetwork-pods).
func HostPods(pods []corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		if p.Spec.HostNetwork && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			out = append(out, p.Name)
		}
	}
	return out
}
